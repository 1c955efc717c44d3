package placement_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

// A scheduler of Spillway's own calls the extender for every Pod that names it.
func TestAnUnmanagedPodPassesUntouched(t *testing.T) {
	cases := map[string][]change{
		"it has no key": nil,
		"it has no key and tolerates virtual nodes": {tolerant},
		"it has the switch only": {
			func(p *corev1.Pod) { p.Annotations[policy.SwitchKey] = "false" },
		},
	}
	for name, changes := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.global = policy.SwitchOff
			f.pod("buffer", stranger, on("local-0"), func(p *corev1.Pod) { p.Spec.Priority = new(int32(-10)) })
			pod := f.pod("a", append(changes, unmarked)...)
			for _, names := range [][]string{everywhere, locals, virtuals, {"a-node-that-is-not-known-yet"}} {
				assert.Equal(
					t,
					placement.FilterResult{Names: names, Reason: policy.ReasonUnmanaged},
					f.filter(pod, names...),
				)
			}
			scores, err := f.Prioritize(t.Context(), pod, everywhere)
			require.NoError(t, err)
			assert.Empty(t, scores)
			victims := placement.Victims{"local-0": {Pods: []*extenderv1.MetaPod{{UID: "v"}}}, "virtual-0": {}}
			kept, err := f.Preempt(t.Context(), pod, victims)
			require.NoError(t, err)
			assert.Equal(t, victims, kept)
			assert.Empty(t, f.written)
		})
	}
}

func TestAnUnmanagedPodWaitsForNothing(t *testing.T) {
	f := newFixture(t)
	f.notLeading = leadership.ErrNotLeading
	f.limits = "unknown"
	ahead := f.pod("a", unmarked).DeepCopy()
	ahead.ResourceVersion = "99"
	assert.Equal(t, everywhere, f.filter(ahead, everywhere...).Names)
	_, err := f.Preempt(t.Context(), ahead, placement.Victims{})
	require.NoError(t, err)
}

// A thousand nodes cost an unmanaged Pod no more than one.
func TestAnUnmanagedPodIsCheap(t *testing.T) {
	f := newFixture(t)
	pod := f.pod("a", unmarked)
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("node-", i)
	}
	assert.Less(t, testing.AllocsPerRun(100, func() { f.filter(pod, names...) }), 10.0)
}

func TestAPodWithAKeyIsManagedWithoutTheMarker(t *testing.T) {
	f := newFixture(t)
	assert.Equal(t, locals, f.filter(f.pod("a", quota(1), unmarked), everywhere...).Names)
	assert.Equal(t, virtuals, f.filter(f.pod("b", quota(1), unmarked), everywhere...).Names)
	assert.Equal(t, virtuals, f.filter(f.pod("c", mode(policy.ModeEnforce), unmarked), everywhere...).Names)
	assert.Equal(t, locals, f.filter(f.pod("d", mode(policy.ModeOff), unmarked), everywhere...).Names)
	malformed := f.pod("e", unmarked, func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = "x" })
	assert.Equal(t, locals, f.filter(malformed, everywhere...).Names)
}

func TestAPodThatToleratesVirtualNodesCountsTowardsTheLimits(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=1"
	assert.Equal(t, virtuals, f.filter(f.pod("a", tolerant, unmarked), virtuals...).Names)
	assert.Equal(t, policy.ReasonCloudLimits, f.filter(f.pod("b", tolerant, unmarked), virtuals...).Reason)
	assert.Equal(t, locals, f.filter(f.pod("c", unmarked), locals...).Names, "it cannot reach a virtual node")
	f.limits = "unknown"
	_, err := f.Filter(t.Context(), f.pod("d", tolerant, unmarked), everywhere)
	require.ErrorContains(t, err, "namespace not found")
	f.limits = "pods=x"
	assert.Equal(t, locals, f.filter(f.pod("e", tolerant, unmarked), everywhere...).Names)
}
