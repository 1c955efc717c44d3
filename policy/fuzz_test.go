package policy_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

func FuzzParseSwitch(f *testing.F) {
	for _, value := range []string{"true", "false", "", " True\n", "yes"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := policy.ParseSwitch(map[string]string{"AUTO_SCALE_EKS": value})
		if err != nil {
			assert.Equal(t, policy.SwitchMalformed, got)
			return
		}
		assert.NotEqual(t, policy.SwitchUnset, got, "a key that is there is not unset")
		again, err := policy.ParseSwitch(map[string]string{"AUTO_SCALE_EKS": got.String()})
		require.NoError(t, err)
		assert.Equal(t, got, again)
	})
}

func FuzzParseMode(f *testing.F) {
	f.Add("enforce", "off")
	f.Add("", "auto")
	f.Add("localPrefer", "x")
	f.Fuzz(func(t *testing.T, label, alias string) {
		got, err := policy.ParseMode(map[string]string{burstLabel: label, burstAlias: alias})
		if err != nil {
			assert.Equal(t, policy.ModeOff, got, "what is malformed never bursts")
			return
		}
		assert.Equal(t, label, string(got), "a mode is its label, to the letter")
		assert.NotEqual(t, policy.ModeNone, got)
	})
}

func FuzzParseShares(f *testing.F) {
	for _, value := range []string{"0", "1", "007", "2147483648", "-1", "1e3", "", "٣", "30%", "101%", "%"} {
		f.Add(value, value, value, value)
	}
	f.Add("30%", "2", "5", "70%")
	f.Fuzz(func(t *testing.T, share, least, most, cloud string) {
		values := []string{share, least, most, cloud}
		annotations := map[string]string{}
		for i, key := range policy.ShareAnnotations() {
			annotations[key] = values[i]
		}
		got, err := policy.ParseShares(annotations)
		if err != nil {
			assert.NotEmpty(t, policy.KeyErrors(err))
			return
		}
		for i, amount := range []policy.Amount{got.LocalReplicas, got.LocalMin, got.LocalMax, got.CloudMax} {
			assert.True(t, amount.Set)
			annotations[policy.ShareAnnotations()[i]] = amount.String()
		}
		again, err := policy.ParseShares(annotations)
		require.NoError(t, err)
		assert.Equal(t, got, again)
		assert.LessOrEqual(t, got.LocalFloor(7), got.LocalCap(7))
	})
}

func FuzzParseReplacements(f *testing.F) {
	for _, value := range []string{
		`[{"name":"*","policyType":"remove"}]`, `null`, `[]`, `[null]`, `{`, ``,
		`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}},{"name":"b","policyType":"remove"}]`,
		`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":1.5}}]`,
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := policy.ParseReplacements(map[string]string{replacementAnnotation: value})
		if err != nil {
			assert.Empty(t, got)
			return
		}
		text, err := json.Marshal(got)
		require.NoError(t, err)
		again, err := policy.ParseReplacements(map[string]string{replacementAnnotation: string(text)})
		require.NoError(t, err, "%s", text)
		textAgain, err := json.Marshal(again)
		require.NoError(t, err)
		assert.Equal(t, string(text), string(textAgain))
	})
}

func FuzzFlavorFor(f *testing.F) {
	f.Add("2.00_4.0", int64(2), int32(0), int64(4), int32(9))
	f.Add("", int64(1), int32(30), int64(-1), int32(-9))
	f.Add("0.25_0.5", int64(250), int32(-3), int64(512), int32(6))
	f.Fuzz(func(t *testing.T, annotation string, cpu int64, cpuScale int32, memory int64, memoryScale int32) {
		spec := &corev1.PodSpec{
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewScaledQuantity(cpu, resource.Scale(cpuScale)),
				corev1.ResourceMemory: *resource.NewScaledQuantity(memory, resource.Scale(memoryScale)),
			}}}},
		}
		annotations := map[string]string{}
		if annotation != "" {
			annotations[policy.FlavorAnnotation] = annotation
		}
		flavor, err := sizes.For(annotations, spec)
		if err != nil {
			assert.Zero(t, flavor)
			return
		}
		assert.Contains(t, sizes.Flavors(), flavor)
		// Floats are exact enough far from the sizes; what is near is tried byte by byte elsewhere.
		limits := spec.Containers[0].Resources.Limits
		assert.LessOrEqual(t, limits.Cpu().AsApproximateFloat64(), float64(flavor.MilliCPU)/1000*1.000001)
		assert.LessOrEqual(t, limits.Memory().AsApproximateFloat64(), float64(flavor.MilliGiB)/1000*(1<<30)*1.000001)
		again, err := sizes.For(map[string]string{policy.FlavorAnnotation: flavor.String()}, spec)
		require.NoError(t, err)
		assert.Equal(t, flavor, again)
	})
}

func FuzzReplaceHostPaths(f *testing.F) {
	f.Add(uint64(1), `[{"name":"*","policyType":"remove"}]`)
	f.Add(
		uint64(2),
		`[{"name":"v0","policyType":"replaceByEmptyDir"},{"name":"v1","policyType":"remove"},`+
			`{"name":"*","policyType":"remove"}]`,
	)
	f.Add(uint64(3), ``)
	f.Fuzz(func(t *testing.T, seed uint64, annotation string) {
		pod := tellStory(seed).input().Pod
		if annotation != "" {
			pod.Annotations[replacementAnnotation] = annotation
		}
		before := pod.DeepCopy()
		spec, err := policy.ReplaceHostPaths(pod)
		require.Equal(t, before, pod, "the Pod is not changed")
		if err != nil {
			require.Equal(t, &before.Spec, spec, "nothing is done by half")
			return
		}
		checkVolumes(t, before.Spec.Volumes, spec.Volumes)
		checkMounts(t, &before.Spec, spec)

		again, err := policy.ReplaceHostPaths(&corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: *spec})
		require.NoError(t, err)
		require.Equal(t, spec, again, "the second time changes nothing")
	})
}

// checkVolumes: what is no hostPath stays; a hostPath stays, goes, or becomes an emptyDir.
func checkVolumes(t *testing.T, before, after []corev1.Volume) {
	t.Helper()
	for _, v := range before {
		i := slices.IndexFunc(after, func(a corev1.Volume) bool { return a.Name == v.Name })
		if v.HostPath == nil {
			require.GreaterOrEqual(t, i, 0, "volume %s is no hostPath", v.Name)
		}
		if v.HostPath == nil || i >= 0 && after[i].HostPath != nil {
			require.Equal(t, v, after[i])
		} else if i >= 0 {
			require.NotNil(t, after[i].EmptyDir)
		}
	}
	require.LessOrEqual(t, len(after), len(before))
}

// checkMounts: the mounts of volumes that stay, in their order, and no others.
func checkMounts(t *testing.T, before, after *corev1.PodSpec) {
	t.Helper()
	gone := func(m corev1.VolumeMount) bool {
		return !slices.ContainsFunc(after.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	}
	was := append(slices.Clone(before.InitContainers), before.Containers...)
	is := append(slices.Clone(after.InitContainers), after.Containers...)
	require.Len(t, is, len(was))
	for i := range was {
		want := slices.DeleteFunc(slices.Clone(was[i].VolumeMounts), gone)
		require.ElementsMatch(t, want, is[i].VolumeMounts, was[i].Name)
		was[i].VolumeMounts, is[i].VolumeMounts = nil, nil
	}
	require.Equal(t, was, is, "nothing else of a container changes")
}

// longExponent is what keeps a Quantity busy for minutes while it is parsed: the API server's trouble before it is
// ours.
var longExponent = regexp.MustCompile(`[0-9.][eE][+-]?[0-9]{4}`)

func FuzzDecide(f *testing.F) {
	for seed := range uint64(20) {
		in := tellStory(seed).input()
		pod, err := json.Marshal(in.Pod)
		require.NoError(f, err)
		f.Add(pod, in.WorkloadLabels[burstLabel], in.NamespaceLabels["virtual-node-affinity-injection"], int(in.Global))
	}
	f.Add([]byte(`{}`), "", "", 0)
	f.Add(
		[]byte(
			`{"spec":{"containers":[{}],"initContainers":[{"restartPolicy":""}],"volumes":[{}],`+
				`"securityContext":{"sysctls":[{}]},"resources":{}}}`,
		),
		"",
		"enabled",
		7,
	)
	f.Add(
		[]byte(
			`{"spec":{"containers":[{"livenessProbe":{},"readinessProbe":{"httpGet":{}},"ports":[{}],"volumeMounts":[{}]}],`+
				`"volumes":[{"emptyDir":{"sizeLimit":"1e99"}}]}}`,
		),
		"auto",
		"",
		-1,
	)
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte, workload, namespace string, global int) {
		var pod corev1.Pod
		if longExponent.Match(data) || json.Unmarshal(data, &pod) != nil {
			return
		}
		in := policy.Input{Pod: &pod, Global: policy.Switch(global)}
		if workload != "" {
			in.WorkloadLabels = map[string]string{burstLabel: workload}
		}
		if namespace != "" {
			in.NamespaceLabels = map[string]string{"virtual-node-affinity-injection": namespace}
		}
		before := pod.DeepCopy()
		decision := decider.Decide(in)
		require.Equal(t, before, &pod, "the Pod is not changed")
		checkDecision(t, decider, in, decision)
	})
}

// FuzzDecideKeys sets random texts as the keys of a Pod of the oracle.
func FuzzDecideKeys(f *testing.F) {
	f.Add(uint64(1), "true", "1", `[{"name":"*","policyType":"remove"}]`, "2.00_4.0", "1024 60999", "auto")
	f.Add(uint64(2), "", "", "", "", "", "")
	f.Add(uint64(3), "yes", "-1", "{", "1_1", "1024\t65535 ", "off")
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, seed uint64, local, quota, replacement, flavor, portRange, label string) {
		in := tellStory(seed).input()
		in.Pod.Annotations = present(map[string]string{
			"AUTO_SCALE_EKS":        local,
			"LOCAL_REPLICAS":        quota,
			replacementAnnotation:   replacement,
			policy.FlavorAnnotation: flavor,
		})
		in.Pod.Labels = present(map[string]string{burstLabel: label})
		in.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{
			Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_local_port_range", Value: portRange}},
		}
		before := in.Pod.DeepCopy()
		decision := decider.Decide(in)
		require.Equal(t, before, in.Pod, "the Pod is not changed")
		checkDecision(t, decider, in, decision)
	})
}

// checkDecision: what holds for every decision.
func checkDecision(t *testing.T, decider *policy.Policy, in policy.Input, decision policy.Decision) {
	t.Helper()
	assert.NotEmpty(t, decision.Reason)
	assert.NotEmpty(t, decision.Message)
	assert.NotContains(t, decision.Message, "\n", "a message is one line")
	assert.Equal(t, decision, decider.Decide(in), "the same is decided again")
	if !decision.MayBurst() {
		assert.True(t, decision.Shares.IsZero())
		assert.Zero(t, decision.BurstAfter)
		return
	}
	assert.Empty(t, decider.Restrictions(in), "what may burst can run there")
	_, err := sizes.For(in.Pod.Annotations, &in.Pod.Spec)
	require.NoError(t, err)
	_, err = policy.ReplaceHostPaths(in.Pod)
	require.NoError(t, err)
	if decision.Placement == policy.PlacementCloudOnly {
		assert.Equal(t, policy.Shares{CloudMax: decision.Shares.CloudMax}, decision.Shares)
		assert.Zero(t, decision.BurstAfter)
	} else if !decision.Shares.IsZero() {
		assert.Equal(t, policy.PlacementLocalFirst, decision.Placement)
	}
	described := decision.Describe()
	assert.True(t, strings.HasPrefix(described, fmt.Sprintf("%s (%s): ", decision.Placement, decision.Reason)), described)
}

// A cluster's Pods are decided by many goroutines at once, and their quantities are shared with a cache.
func TestDecideIsSafeForConcurrentUse(t *testing.T) {
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	in := tellStory(7).input()
	in.Pod.ObjectMeta = metav1.ObjectMeta{}
	in.Pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1e30"), corev1.ResourceMemory: resource.MustParse("1e30"),
	}}}}
	want := decider.Decide(in)
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				assert.Equal(t, want, decider.Decide(in))
			}
		})
	}
}
