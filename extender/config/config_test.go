package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/extender/config"
	loader "github.com/spillway-k8s/spillway/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden defaults")

func load(args ...string) error { return loader.Load("extender", args, config.Default()) }

func TestDefaultsAreGolden(t *testing.T) {
	got, err := yaml.Marshal(config.Default())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.yaml", got, 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "a default has changed: if this is intended, run with -update")
}

func TestGoldenDefaultsAreAValidConfigurationFile(t *testing.T) {
	cfg := &config.Config{}
	require.NoError(t, loader.Load("extender", []string{"--config=testdata/defaults.yaml"}, cfg))
	assert.Equal(t, config.Default(), cfg)
}

func TestFormerFieldNamesAreAccepted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`{"patience": "2s", "wakePeriod": "7s"}`), 0o600))
	cfg := config.Default()
	require.NoError(t, loader.Load("extender", []string{"--config", file}, cfg))
	assert.Equal(t, 2*time.Second, cfg.AnswerTimeout.Duration)
	assert.Equal(t, 7*time.Second, cfg.RequeueInterval.Duration)
}

func TestAllErrorsAreReportedAtOnce(t *testing.T) {
	err := load("--listen=0.0.0.0:80", "--patience=-1s", "--log-level=loud", "--kube-api-qps=0")
	for _, want := range []string{
		`listen: Invalid value: "0.0.0.0:80": must be a loopback address`,
		`answerTimeout: Invalid value: "-1s": must be greater than zero`,
		`logging.level: Invalid value: "loud"`,
		`kube.qps: Invalid value`,
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestOnlyTheSchedulerCanBeAllowedToConnect(t *testing.T) {
	secured := []string{
		"--listen=:10290", "--tls-cert-file=crt", "--tls-private-key-file=key", "--client-ca-file=ca",
		"--health-listen=:10291", "--leader-election-namespace=spillway-system",
	}
	cases := map[string]struct {
		args []string
		want []string
	}{
		"the defaults are valid":                   {nil, nil},
		"health may have its own port":             {[]string{"--health-listen=:10291"}, nil},
		"any loopback address is valid":            {[]string{"--listen=[::1]:10290"}, nil},
		"all interfaces are valid with mutual TLS": {secured, nil},
		"all interfaces are invalid without mutual TLS": {[]string{"--listen=:10290"}, []string{
			`listen: Invalid value: ":10290": must be a loopback address such as 127.0.0.1:10290 ` +
				`without tlsCertFile, tlsPrivateKeyFile and clientCAFile`,
			"leaderElectionNamespace: Required value: must be set if listen is not a loopback address",
		}},
		"a host name is not a loopback address": {
			[]string{"--listen=extender:10290"}, []string{"must be a loopback address"},
		},
		"a port without a host is invalid": {
			[]string{"--listen=10290"}, []string{`listen: Invalid value: "10290": must be host:port`},
		},
		"a certificate requires a key, an authority and a port for health": {
			[]string{"--listen=:10290", "--tls-cert-file=crt"},
			[]string{
				"tlsPrivateKeyFile: Required value", "clientCAFile: Required value", "healthListen: Required value",
			},
		},
		"a key requires a certificate": {
			[]string{"--tls-private-key-file=key"}, []string{"tlsCertFile: Required value"},
		},
		"an authority requires a certificate": {
			[]string{"--client-ca-file=ca"},
			[]string{`clientCAFile: Invalid value: "ca": has no effect without tlsCertFile`},
		},
		"the list of clients must not be empty": {
			append(secured, "--client-names="), []string{"clientNames: Invalid value: []"},
		},
		"the name of a client must not be empty": {
			append(secured, `--client-names="",a`), []string{`clientNames: Invalid value: ["","a"]`},
		},
		"the address for health must have a host and a port": {
			[]string{"--health-listen=10291"}, []string{`healthListen: Invalid value: "10291": must be host:port`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := load(tc.args...)
			if tc.want == nil {
				require.NoError(t, err)
			}
			for _, want := range tc.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestSchedulerLease(t *testing.T) {
	require.NoError(t, load("--scheduler-lease=spillway-system/spillway-scheduler"))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"it must have a namespace": {
			[]string{"--scheduler-lease=kube-scheduler"},
			`schedulerLease: Invalid value: "kube-scheduler": must be namespace/name`,
		},
		"it must have a name": {
			[]string{"--scheduler-lease=kube-system/"}, `schedulerLease: Invalid value: "kube-system/"`,
		},
		"it must have no other parts": {
			[]string{"--scheduler-lease=a/b/c"}, `schedulerLease: Invalid value: "a/b/c"`,
		},
		"it excludes an election of the extenders": {
			[]string{"--scheduler-lease=a/b", "--leader-election-namespace=a"},
			`schedulerLease: Invalid value: "a/b": must be empty with leaderElectionNamespace`,
		},
	} {
		t.Run(name, func(t *testing.T) { assert.ErrorContains(t, load(tc.args...), tc.want) })
	}
}

func TestClientNamesCountWithTLSOnly(t *testing.T) {
	cfg := config.Default()
	assert.Empty(t, cfg.AllowedClients())
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = "crt", "key"
	assert.Equal(t, []string{"system:kube-scheduler"}, cfg.AllowedClients())
}
