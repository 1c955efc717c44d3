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
