package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/proxy/config"
)

var update = flag.Bool("update", false, "rewrite the golden defaults")

func load(args ...string) error { return loader.Load("proxy", args, config.Default()) }

func TestDefaultsAreGolden(t *testing.T) {
	got, err := yaml.Marshal(config.Default())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.yaml", got, 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "a default has changed: if this is intended, run with -update")
	require.NoError(t, load())
	require.NoError(t, load("--config=testdata/defaults.yaml"))
}

func TestFlags(t *testing.T) {
	c := config.Default()
	require.NoError(t, loader.Load("proxy", []string{
		"--kubeconfig=f", "--node=virtual-0", "--zone=zone-a", "--cluster-domain=k8s.example",
		"--nameservers=10.0.0.1,fd00::1", "--nameservers=10.0.0.2:5353",
		"--reserved-ports=80,443", "--api-server-port=64443", "--server-service=spillway-system/services",
		"--max-services=1", "--max-connections=2", "--max-sessions=3", "--dns-address=127.0.0.2:5353",
	}, c))
	assert.Equal(t, []string{"10.0.0.1:53", "[fd00::1]:53", "10.0.0.2:5353"}, c.NameserverAddresses())
	assert.Equal(t, []int{80, 443}, c.ReservedPorts)
	assert.Equal(t, 64443, c.APIServerPort)
	namespace, name := c.Server()
	assert.Equal(t, []string{"spillway-system", "services"}, []string{namespace, name})
	c = config.Default()
	require.NoError(t, loader.Load("proxy", []string{"--nameservers="}, c), "an empty list is valid")
	assert.Empty(t, c.NameserverAddresses())
}

func TestErrorsNameTheField(t *testing.T) {
	for name, tc := range map[string]struct{ arg, want string }{
		"no kubeconfig":           {"--kubeconfig=", "kubeconfig: Required value"},
		"no port of the API":      {"--api-server-port=65536", "apiServerPort: Invalid value: 65536: must be a port"},
		"a Service without name":  {"--server-service=b", `serverService: Invalid value: "b": must be namespace/name`},
		"a Service, three parts":  {"--server-service=a/b/c", "serverService: Invalid value"},
		"no domain":               {"--cluster-domain=", "clusterDomain: Invalid value"},
		"a domain with a dot":     {"--cluster-domain=cluster.local.", "clusterDomain: Invalid value"},
		"a host name":             {"--nameservers=10.0.0.1,dns.test", `nameservers[1]: Invalid value: "dns.test"`},
		"a nameserver, port 0":    {"--nameservers=10.0.0.1:0", "nameservers[0]: Invalid value"},
		"the proxy itself":        {"--nameservers=127.0.0.1", `nameservers[0]: Invalid value: "127.0.0.1": must not be`},
		"a port that is too high": {"--reserved-ports=80,65536", "reservedPorts[1]: Invalid value: 65536"},
		"port 0":                  {"--reserved-ports=0", "reservedPorts[0]: Invalid value: 0"},
		"the port of DNS":         {"--reserved-ports=80,53", "reservedPorts: Invalid value: 53: must not have"},
		"DNS for all":             {"--dns-address=0.0.0.0:53", "dnsAddress: Invalid value"},
		"DNS without a port":      {"--dns-address=127.0.0.1", "dnsAddress: Invalid value"},
		"DNS over IPv6":           {"--dns-address=[::1]:53", "dnsAddress: Invalid value"},
		"no Services":             {"--max-services=0", "maxServices: Invalid value: 0: must be at least 1"},
		"no connections":          {"--max-connections=-1", "maxConnections: Invalid value: -1"},
		"no sessions":             {"--max-sessions=0", "maxSessions: Invalid value"},
		"a level of the log":      {"--log-level=loud", "logging.level: Invalid value"},
		"a port that is no number": {
			"--reserved-ports=http", `strconv.Atoi: parsing "http": invalid syntax`,
		},
	} {
		t.Run(name, func(t *testing.T) { assert.ErrorContains(t, load(tc.arg), tc.want) })
	}
	err := load("--kubeconfig=", "--max-services=0")
	assert.ErrorContains(t, err, "kubeconfig")
	assert.ErrorContains(t, err, "maxServices", "all errors are reported at once")
}

func TestTheCheckHasAnAddress(t *testing.T) {
	c := config.DefaultCheck()
	require.NoError(t, loader.Load("proxy check", []string{"--dns-address=127.0.0.1:5353"}, c))
	assert.Equal(t, "127.0.0.1:5353", c.DNSAddress)
	assert.ErrorContains(t, loader.Load("proxy check", []string{"--dns-address=dns"}, c), "dnsAddress: Invalid value")
}

// Whatever the flags are, they are valid or an error says what is wrong, and valid ones can be used.
func FuzzConfig(f *testing.F) {
	f.Add("127.0.0.1:53", "10.0.0.1", "80", "cluster.local", "a/b", 1)
	f.Add("127.0.0.1", "10.0.0.1:53,::1", "0,65536", ".", "a/b/c", 0)
	f.Add("[::1]:53", "", "", "", "", -1)
	f.Fuzz(func(t *testing.T, address, nameservers, ports, domain, server string, limit int) {
		c := config.Default()
		err := loader.Load("proxy", []string{
			"--dns-address", address, "--nameservers", nameservers, "--reserved-ports", ports, "--cluster-domain", domain,
			"--server-service", server, "--max-services", strconv.Itoa(limit),
		}, c)
		if err != nil {
			assert.NotEmpty(t, err.Error())
			return
		}
		assert.Len(t, c.NameserverAddresses(), len(c.Nameservers))
		assert.True(t, strings.HasPrefix(c.DNSAddress, "127."), c.DNSAddress)
		assert.Positive(t, c.MaxServices)
		for _, port := range c.ReservedPorts {
			assert.True(t, port > 0 && port < 65536)
		}
	})
}

// The configuration file is read strictly.
func FuzzFile(f *testing.F) {
	defaults, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(f, err)
	f.Add(defaults)
	f.Add([]byte("nameservers: [10.0.0.1]\nreservedPorts: [80]\n"))
	f.Add([]byte("reservedPorts: 80\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(file, content, 0o600))
		c := config.Default()
		if loader.Load("proxy", []string{"--config", file}, c) == nil {
			assert.NoError(t, c.Validate())
		}
	})
}
