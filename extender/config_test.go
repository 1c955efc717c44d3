package main

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden defaults")

func TestDefaultsAreGolden(t *testing.T) {
	got, err := yaml.Marshal(defaultConfig())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.yaml", got, 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "a default has changed: if that is meant, run with -update and say so in the docs")
}

func TestTheGoldenDefaultsAreAConfigurationFile(t *testing.T) {
	cfg := &Config{}
	require.NoError(t, config.Load("extender", []string{"--config=testdata/defaults.yaml"}, cfg))
	assert.Equal(t, defaultConfig(), cfg)
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	err := config.Load("extender", []string{"--listen=0.0.0.0:80", "--patience=-1s", "--log-level=loud", "--kube-api-qps=0"}, defaultConfig())
	for _, want := range []string{
		`listen: invalid value "0.0.0.0:80": must be a loopback address`,
		`patience: invalid value -1s`,
		`logging.level: invalid value "loud"`,
		`kube-api-qps`,
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestNobodyButTheSchedulerCanBeLetIn(t *testing.T) {
	secured := []string{"--listen=:10290", "--tls-cert-file=crt", "--tls-private-key-file=key", "--client-ca-file=ca", "--health-listen=:10291", "--leader-election-namespace=spillway-system"}
	cases := map[string]struct {
		args []string
		want []string
	}{
		"the default":                     {nil, nil},
		"health on a port of its own":     {[]string{"--health-listen=:10291"}, nil},
		"another loopback address":        {[]string{"--listen=[::1]:10290"}, nil},
		"every interface with mutual TLS": {secured, nil},
		"every interface without it":      {[]string{"--listen=:10290"}, []string{`listen: invalid value ":10290": must be a loopback address such as 127.0.0.1:10290 without tlsCertFile, tlsPrivateKeyFile and clientCAFile`, "leaderElectionNamespace: must not be empty beyond loopback"}},
		"a name that may mean anything":   {[]string{"--listen=extender:10290"}, []string{"must be a loopback address"}},
		"no address":                      {[]string{"--listen=10290"}, []string{`listen: invalid value "10290": must be host:port`}},
		"a certificate that lets everybody in": {[]string{"--listen=:10290", "--tls-cert-file=crt"},
			[]string{"tlsPrivateKeyFile: must not be empty", "clientCAFile: must not be empty", "healthListen: must not be empty"}},
		"a key alone":                        {[]string{"--tls-private-key-file=key"}, []string{"tlsCertFile: must not be empty"}},
		"an authority alone":                 {[]string{"--client-ca-file=ca"}, []string{`clientCAFile: invalid value "ca": means nothing without tlsCertFile`}},
		"no name of a client":                {append(secured, "--client-names="), []string{"clientNames: invalid value []"}},
		"an empty name of a client":          {append(secured, `--client-names="",a`), []string{`clientNames: invalid value ["" "a"]`}},
		"an address for health that is none": {[]string{"--health-listen=10291"}, []string{`healthListen: invalid value "10291": must be host:port`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := config.Load("extender", tc.args, defaultConfig())
			if tc.want == nil {
				require.NoError(t, err)
			}
			for _, words := range tc.want {
				assert.ErrorContains(t, err, words)
			}
		})
	}
}

func TestTheLeaseOfTheScheduler(t *testing.T) {
	require.NoError(t, config.Load("extender", []string{"--scheduler-lease=spillway-system/spillway-scheduler"}, defaultConfig()))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"it has a namespace":             {[]string{"--scheduler-lease=kube-scheduler"}, `schedulerLease: invalid value "kube-scheduler": must be namespace/name`},
		"it has a name":                  {[]string{"--scheduler-lease=kube-system/"}, `schedulerLease: invalid value "kube-system/"`},
		"it has nothing else":            {[]string{"--scheduler-lease=a/b/c"}, `schedulerLease: invalid value "a/b/c"`},
		"the extenders elect, or do not": {[]string{"--scheduler-lease=a/b", "--leader-election-namespace=a"}, `schedulerLease: invalid value "a/b": must be empty with leaderElectionNamespace`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, config.Load("extender", tc.args, defaultConfig()), tc.want)
		})
	}
}
