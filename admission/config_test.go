package main

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestDefaultsAreTheWrittenOnes(t *testing.T) {
	got, err := yaml.Marshal(defaultConfig())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.yaml", got, 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(t, err)
	assert.YAMLEq(t, string(want), string(got))
}

func TestAFileFillsEveryFieldAndFlagsWinOverIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admission.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
logging: {level: debug, format: json}
kube: {kubeconfig: /etc/kubeconfig, qps: 10, burst: 20}
listen: 127.0.0.1:9443
tlsCertFile: /etc/tls.crt
tlsPrivateKeyFile: /etc/tls.key
tlsSecret: tls
tlsNames: [admission.example, 10.0.0.1]
healthListen: 127.0.0.1:9081
leaderElectionNamespace: elsewhere
lookupTimeout: 250ms
schedulerName: bursting
resync: 30s
policy: {protectedNamespaces: [infra], volumeKinds: [nfs], localFalseForbids: true, disabledRules: [GRPCProbe], cciVersion: "1.0"}
`), 0o600))
	cfg := defaultConfig()
	require.NoError(t, config.Load("admission", []string{"--config", file, "--listen", ":7443", "--resync", "5s"}, cfg))

	got, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	assert.YAMLEq(t, `
logging: {level: debug, format: json}
kube: {kubeconfig: /etc/kubeconfig, qps: 10, burst: 20}
listen: :7443
tlsCertFile: /etc/tls.crt
tlsPrivateKeyFile: /etc/tls.key
tlsSecret: tls
tlsNames: [admission.example, 10.0.0.1]
healthListen: 127.0.0.1:9081
leaderElectionNamespace: elsewhere
lookupTimeout: 250ms
schedulerName: bursting
resync: 5s
policy: {protectedNamespaces: [infra], volumeKinds: [nfs], localFalseForbids: true, disabledRules: [GRPCProbe], cciVersion: "1.0"}
`, string(got))
}

func TestValidateReportsEveryFaultAtOnce(t *testing.T) {
	cfg := defaultConfig()
	err := config.Load("admission", []string{
		"--listen", "8443", "--health-listen", "nowhere", "--leader-election-namespace", "", "--lookup-timeout", "3s", "--resync", "1ms",
		"--kube-api-qps", "0", "--scheduler-name", "My Scheduler",
		"--tls-secret", "My Secret", "--tls-names", "my name",
	}, cfg)
	require.ErrorIs(t, err, run.ErrUsage)
	for _, words := range []string{
		`listen: invalid value "8443": must be host:port`,
		`health-listen: invalid value "nowhere": must be host:port`,
		`tls-secret: invalid value "My Secret": must be the name of a Secret`,
		`tls-names: invalid value "my name": must be a DNS name or an IP address`,
		"leader-election-namespace: must not be empty",
		"lookup-timeout: invalid value 3s: must be above 0s and at most 1.5s",
		"resync: invalid value 1ms: must be 1s or more",
		"kube-api-qps",
		`scheduler-name: invalid value "My Scheduler": must be the name of a scheduler or profile`,
	} {
		assert.ErrorContains(t, err, words)
	}
}

func TestACertificateIsGivenWholeOrNotAtAll(t *testing.T) {
	cfg := defaultConfig()
	cfg.TLSCertFile = "tls.crt"
	require.ErrorContains(t, cfg.Validate(), "tls-private-key-file: must name a file")
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = "", "tls.key"
	require.ErrorContains(t, cfg.Validate(), "tls-cert-file: must name a file")
	cfg.TLSPrivateKeyFile, cfg.TLSNames = "", nil
	require.ErrorContains(t, cfg.Validate(), "tls-names: must have one name at least")
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = "tls.crt", "tls.key"
	require.NoError(t, cfg.Validate(), "given files need no names")
}

func TestAnUnknownRuleIsAFaultOfThePolicy(t *testing.T) {
	cfg := defaultConfig()
	cfg.Policy.DisabledRules = append(cfg.Policy.DisabledRules, "NoSuchRule")
	err := cfg.Validate()
	assert.ErrorContains(t, err, `policy: disabledRules: unknown rule "NoSuchRule"`)
}

func TestTheProgramEndsWithWordsBeforeItStarts(t *testing.T) {
	assert.ErrorIs(t, program(t.Context(), []string{"--help"}), pflag.ErrHelp)
	assert.ErrorIs(t, program(t.Context(), []string{"--resync", "soon"}), run.ErrUsage)
	cfg := defaultConfig()
	cfg.Kube.Kubeconfig = "nowhere"
	_, err := newAdmission(cfg, "host", slog.Default())
	assert.ErrorContains(t, err, `reading kubeconfig "nowhere"`)
}
