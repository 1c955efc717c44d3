package config_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/config"
	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestDefaultsMatchTheGoldenFile(t *testing.T) {
	got, err := yaml.Marshal(config.Default())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.yaml", got, 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.yaml")
	require.NoError(t, err)
	assert.YAMLEq(t, string(want), string(got))
}

func TestDefaultsAreValid(t *testing.T) { assert.NoError(t, config.Default().Validate()) }

func TestAFileSetsEveryFieldAndFlagsOverrideIt(t *testing.T) {
	const fields = `
logging: {level: debug, format: json}
kube: {kubeconfig: /etc/kubeconfig, qps: 10, burst: 20}
tlsCertFile: /etc/tls.crt
tlsPrivateKeyFile: /etc/tls.key
tlsSecret: tls
tlsNames: [admission.example, 10.0.0.1]
healthListen: 127.0.0.1:9081
leaderElectionNamespace: elsewhere
lookupTimeout: 250ms
deletionCost: -7
ownerKinds:
- {group: argoproj.io, version: v1alpha1, resource: rollouts, kind: Rollout}
schedulerName: bursting
otherSchedulerNames: [tke-scheduler]
markerResource: false
policy:
  protectedNamespaces: [infra]
  volumeKinds: [nfs]
  allowOversize: true
  burstAfter: 30s
  localFalseForbids: true
  disabledRules: [GRPCProbe]
  ignoredNodeSelectors: [disktype=ssd]
  cciVersion: "1.0"
  defaultSize: 1.00_2.0
  cloudLimits: pods=5
`
	file := filepath.Join(t.TempDir(), "admission.yaml")
	require.NoError(t, os.WriteFile(file, []byte(fields+"listen: 127.0.0.1:9443\nresync: 30s\n"), 0o600))
	cfg := config.Default()
	args := []string{"--config", file, "--listen", ":7443", "--resync", "5s"}
	require.NoError(t, loader.Load("admission", args, cfg))

	got, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	assert.YAMLEq(t, fields+"listen: :7443\nresync: 5s\n", string(got))
}

func TestValidateReportsEveryErrorAtOnce(t *testing.T) {
	err := loader.Load("admission", []string{
		"--listen", "8443", "--health-listen", "nowhere", "--leader-election-namespace", "", "--lookup-timeout", "3s",
		"--resync", "1ms", "--kube-api-qps", "0", "--scheduler-name", "My Scheduler",
		"--other-scheduler-names", "mine,Your Scheduler",
		"--tls-secret", "My Secret", "--tls-names", "my name",
	}, config.Default())
	require.ErrorIs(t, err, run.ErrUsage)
	for _, want := range []string{
		`listen: Invalid value: "8443": must be host:port`,
		`healthListen: Invalid value: "nowhere": must be host:port`,
		`tlsSecret: Invalid value: "My Secret": must be the name of a Secret`,
		`tlsNames[0]: Invalid value: "my name": must be a DNS name or an IP address`,
		"leaderElectionNamespace: Required value: must be the name of a namespace",
		`lookupTimeout: Invalid value: "3s": must be above 0s and at most 1.5s`,
		`resync: Invalid value: "1ms": must be at least 1s`,
		"kube.qps",
		`schedulerName: Invalid value: "My Scheduler": must be the name of a scheduler or profile`,
		`otherSchedulerNames[1]: Invalid value: "Your Scheduler": must be the name of a scheduler or profile`,
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestCertificateAndKeyAreSetTogether(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Config)
		want   string
		own    bool
	}{
		"a certificate without a key": {
			change: func(c *config.Config) { c.TLSCertFile = "tls.crt" },
			want:   "tlsPrivateKeyFile: Required value: must be a file",
		},
		"a key without a certificate": {
			change: func(c *config.Config) { c.TLSPrivateKeyFile = "tls.key" },
			want:   "tlsCertFile: Required value: must be a file",
		},
		"an own certificate without names": {
			change: func(c *config.Config) { c.TLSNames = nil },
			want:   "tlsNames: Required value: must have at least one name",
			own:    true,
		},
		"a certificate with a key needs no names": {
			change: func(c *config.Config) {
				c.TLSCertFile, c.TLSPrivateKeyFile, c.TLSNames = "tls.crt", "tls.key", nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			test.change(cfg)
			assert.Equal(t, test.own, cfg.OwnCertificate())
			if test.want == "" {
				assert.NoError(t, cfg.Validate())
				return
			}
			assert.ErrorContains(t, cfg.Validate(), test.want)
		})
	}
}

func TestOwnerKindsAreValidated(t *testing.T) {
	rollout := config.OwnerKind{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts", Kind: "Rollout"}
	cfg := config.Default()
	cfg.OwnerKinds = []config.OwnerKind{rollout}
	require.NoError(t, cfg.Validate())
	assert.Equal(t, map[schema.GroupKind]schema.GroupVersionResource{
		{Group: "argoproj.io", Kind: "Rollout"}: {Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"},
	}, cfg.Owners())

	cfg.OwnerKinds = []config.OwnerKind{rollout, rollout, {Group: "apps", Kind: "Deployment"}, {Group: "Big Group"}}
	err := cfg.Validate()
	for _, want := range []string{
		`ownerKinds[1]: Duplicate value: "Rollout.argoproj.io"`,
		`ownerKinds[2].group: Invalid value: "apps": must be another group than those of Kubernetes' workloads`,
		`ownerKinds[2].version: Invalid value: "": must be as in the API, such as v1alpha1`,
		`ownerKinds[2].resource: Invalid value: "": must be as in the API, such as rollouts`,
		`ownerKinds[3].group: Invalid value: "Big Group": must be an API group, such as argoproj.io`,
		`ownerKinds[3].kind: Invalid value: "": must be as in owner references, such as Rollout`,
	} {
		require.ErrorContains(t, err, want)
	}
	cfg.OwnerKinds = make([]config.OwnerKind, 33)
	assert.ErrorContains(t, cfg.Validate(), "ownerKinds: Too many: 33: must have at most 32 items")
}

func TestADeletionCostIsNotPositive(t *testing.T) {
	for cost, right := range map[int32]bool{math.MinInt32: true, -1: true, 0: true, 1: false} {
		cfg := config.Default()
		cfg.DeletionCost = cost
		if right {
			require.NoError(t, cfg.Validate())
			continue
		}
		assert.ErrorContains(t, cfg.Validate(), "deletionCost: Invalid value: 1: must be from -2147483648 to -1, or 0")
	}
}

func TestAnUnknownRuleIsAnErrorOfThePolicy(t *testing.T) {
	cfg := config.Default()
	cfg.Policy.DisabledRules = append(cfg.Policy.DisabledRules, "NoSuchRule")
	assert.ErrorContains(t, cfg.Validate(), `policy.disabledRules[0]: Unsupported value: "NoSuchRule"`)
}
