package policy_test

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

// caseOutput is the form of testdata/*.output.yaml.
type caseOutput struct {
	Placement policy.Placement `json:"placement"`
	Mode      policy.Mode      `json:"mode,omitempty"`
	Shares    string           `json:"shares,omitempty"`
	Reason    policy.Reason    `json:"reason"`
	Message   string           `json:"message"`
	// Flavor is the size in the cloud of a Pod that may burst.
	Flavor string `json:"flavor,omitempty"`
	// Replaced is what the cloud sees instead of hostPath volumes, for Pods that have some.
	Replaced *caseReplaced `json:"replaced,omitempty"`
}

type caseReplaced struct {
	Volumes []corev1.Volume `json:"volumes"`
	// Mounts are by container.
	Mounts map[string][]corev1.VolumeMount `json:"mounts"`
}

// TestDecide decides every testdata/<case>.input.yaml. With -update it rewrites the outputs: read what changed before
// you commit it. Cases that may burst have a golden of their cloud Pod too: go test ./vnode/translate -update.
func TestDecide(t *testing.T) {
	rules, modes, placements := map[policy.Reason]bool{}, map[policy.Mode]bool{}, map[policy.Placement]bool{}
	for _, file := range policytest.Files(t, "testdata") {
		t.Run(policytest.Name(file), func(t *testing.T) {
			output := decideCase(t, policytest.Read(t, file))
			golden(t, strings.Replace(file, ".input.", ".output.", 1), output)
			rules[output.Reason], modes[output.Mode], placements[output.Placement] = true, true, true
		})
	}
	if t.Failed() {
		return
	}
	for _, rule := range policy.Rules() {
		assert.True(t, rules[rule.Reason], "no case is refused by the rule %s", rule.Reason)
	}
	assert.Len(t, modes, 5, "every mode has a case")
	assert.Len(t, placements, 4, "every placement has a case")
}

func decideCase(t *testing.T, c policytest.Case) caseOutput {
	t.Helper()
	decision, pod := c.Decide(t), c.Input(t).Pod
	output := caseOutput{
		Placement: decision.Placement,
		Mode:      decision.Mode,
		Shares:    decision.Shares.String(),
		Reason:    decision.Reason,
		Message:   decision.Message,
	}
	if flavor, err := sizes.For(pod.Annotations, &pod.Spec); err == nil && decision.MayBurst() {
		output.Flavor = flavor.String()
	}
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil }) {
		spec, err := policy.ReplaceHostPaths(pod)
		if decision.MayBurst() {
			require.NoError(t, err, "what may burst can be translated")
		}
		output.Replaced = replacedOf(spec)
	}
	return output
}

func replacedOf(spec *corev1.PodSpec) *caseReplaced {
	replaced := &caseReplaced{Volumes: spec.Volumes, Mounts: map[string][]corev1.VolumeMount{}}
	for _, c := range append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...) {
		replaced.Mounts[c.Name] = c.VolumeMounts
	}
	return replaced
}

func golden(t *testing.T, file string, got any) {
	t.Helper()
	data, err := yaml.Marshal(got)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, data, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), string(data))
}

func TestDescribe(t *testing.T) {
	cases := map[string]struct {
		decision policy.Decision
		want     string
	}{
		"placement, reason and message": {
			policy.Decision{Placement: policy.PlacementLocalOnly, Reason: policy.ReasonSwitchOff, Message: "set it to true"},
			"LocalOnly (SwitchOff): set it to true",
		},
		"and the shares where there are some": {
			policy.Decision{
				Placement: policy.PlacementLocalFirst,
				Reason:    policy.ReasonSwitchOn,
				Message:   "allowed",
				Shares:    policy.Shares{LocalReplicas: policy.Amount{Set: true, Value: 2}},
			},
			"LocalFirst (SwitchOn): allowed; LOCAL_REPLICAS=2",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, tc.decision.Describe()) })
	}
}

func TestConfigValidateReportsEveryFault(t *testing.T) {
	config := policy.Config{
		ProtectedNamespaces: []string{"kube-system", ""},
		VolumeKinds:         []string{""},
		DisabledRules:       []policy.Reason{"HostPath", "hostpath", "Everything"},
	}
	_, err := policy.New(config)
	require.Error(t, err)
	assert.ErrorContains(t, err, `policy.protectedNamespaces[1]: Invalid value: "": must be a name`)
	assert.ErrorContains(t, err, `policy.volumeKinds[0]: Invalid value: "": must be a name`)
	assert.ErrorContains(t, err, `policy.disabledRules[1]: Unsupported value: "hostpath": supported values: `)
	assert.ErrorContains(t, err, `policy.disabledRules[2]: Unsupported value: "Everything"`)
	assert.ErrorContains(t, err, `"DaemonsetForbidden", `)
	assert.NotContains(t, err.Error(), `disabledRules[0]`, "an existing rule is not an error")

	require.NoError(t, policy.DefaultConfig().Validate(nil).ToAggregate())
}

func TestEveryRuleCanBeSwitchedOff(t *testing.T) {
	seen := map[policy.Reason]bool{}
	for _, file := range policytest.Files(t, "testdata") {
		in := policytest.Read(t, file)
		reason := decideCase(t, in).Reason
		if !slices.ContainsFunc(policy.Rules(), func(r policy.Rule) bool { return r.Reason == reason }) {
			continue
		}
		in.Disabled = append(in.Disabled, reason)
		assert.NotEqual(t, reason, decideCase(t, in).Reason, "%s is switched off for %s", reason, file)
		seen[reason] = true
	}
	assert.Len(t, seen, len(policy.Rules()))
}

func TestClaims(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0"},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{
				Name: "data",
				VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-web-0"},
				},
			},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		}},
	}
	assert.Equal(
		t,
		map[string]*corev1.Volume{"data-web-0": &pod.Spec.Volumes[1], "web-0-scratch": &pod.Spec.Volumes[2]},
		maps.Collect(policy.Claims(pod)),
	)
	assert.Empty(t, maps.Collect(policy.Claims(&corev1.Pod{})))
	for name := range policy.Claims(pod) {
		assert.Equal(t, "data-web-0", name)
		break // A loop that ends early is no trouble.
	}
}
