package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

func sized(size string) change {
	return func(p *corev1.Pod) { p.Annotations[policy.FlavorAnnotation] = size }
}

// TestLimitsOfANamespace tests which nodes are left for a second Pod in a namespace that may have one Pod in the cloud.
func TestLimitsOfANamespace(t *testing.T) {
	enforce, auto, prefer := mode(policy.ModeEnforce), mode(policy.ModeAuto), mode(policy.ModeLocalPrefer)
	both := append(slices.Clone(locals), virtuals...)
	cases := map[string]struct {
		limits string
		pod    []change
		names  []string
		want   []string
		reason policy.Reason
	}{
		"enforce waits": {
			"pods=1", []change{enforce}, everywhere, []string{}, policy.ReasonCloudLimits,
		},
		"localPrefer goes to a local node": {
			"pods=1", []change{prefer}, everywhere, locals, policy.ReasonLabelLocalPrefer,
		},
		"localPrefer waits if no local node fits": {
			"pods=1", []change{prefer}, virtuals, []string{}, policy.ReasonCloudLimits,
		},
		"auto goes to a local node": {
			"pods=1", []change{auto}, everywhere, locals, policy.ReasonLabelAuto,
		},
		"auto waits if no local node fits": {
			"pods=1", []change{auto}, virtuals, []string{}, policy.ReasonCloudLimits,
		},
		"without a key a Pod waits if no local one fits": {
			"pods=1", nil, virtuals, []string{}, policy.ReasonCloudLimits,
		},
		"a Pod over its quota waits": {
			"pods=1", []change{quota(0)}, everywhere, []string{}, policy.ReasonCloudLimits,
		},
		"a Pod below its quota goes to a local node": {
			"pods=1", []change{quota(1)}, everywhere, locals, policy.ReasonSwitchOn,
		},
		"a Pod below its quota waits if no local one fits": {
			"pods=1", []change{quota(1)}, virtuals, []string{}, policy.ReasonCloudLimits,
		},
		"higher limits allow enforce": {"pods=2", []change{enforce}, everywhere, virtuals, policy.ReasonCloudOnly},
		"higher limits allow auto":    {"pods=2", []change{auto}, everywhere, both, policy.ReasonLabelAuto},
		"higher limits allow localPrefer": {
			"pods=2", []change{prefer}, virtuals, virtuals, policy.ReasonLabelLocalPrefer,
		},
		"higher limits allow a Pod over it": {
			"pods=2", []change{quota(0)}, everywhere, virtuals, policy.ReasonLocalQuota,
		},
		"CPU counts": {
			"cpu=1", []change{enforce, sized("1.00_2.0")}, everywhere, []string{}, policy.ReasonCloudLimits,
		},
		"memory counts": {
			"memory=2Gi", []change{enforce, sized("1.00_2.0")}, everywhere, []string{}, policy.ReasonCloudLimits,
		},
		"no limits allow everything":          {"", []change{enforce}, everywhere, virtuals, policy.ReasonCloudOnly},
		"no leave keeps a Pod on local nodes": {"pods=0", []change{prefer}, everywhere, locals, policy.ReasonLocalOnly},
		"malformed limits keep a Pod on local nodes": {
			"pods=x", []change{prefer}, everywhere, locals, policy.ReasonLocalOnly,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.pod("first", enforce, on("virtual-0"))
			f.limits = tc.limits
			got := f.filter(f.pod("a", tc.pod...), tc.names...)
			assert.Equal(t, tc.want, got.Names)
			assert.Equal(t, tc.reason, got.Reason)
		})
	}
}

func TestABurstOfPodsKeepsTheLimits(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=3"
	cloud := 0
	for i := range 10 {
		pod := f.pod(fmt.Sprint(i), mode(policy.ModeEnforce))
		if slices.Equal(f.filter(pod, everywhere...).Names, virtuals) {
			cloud++
		}
	}
	assert.Equal(t, 3, cloud)
	assert.Equal(t, []string{"0", "1", "2"}, f.written)
	assert.Equal(t, "spillway.io/cloud-slot: uid-0/0.50_1.0", f.slots["0"])
	assert.Equal(t, []int{1, 2, 3}, f.verified, "each in a term that was current after the slot was written")
	f.pod("1", on("virtual-0"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	assert.Equal(t, []string{"3"}, f.requeued)
}

func TestWithoutLimitsNothingIsWritten(t *testing.T) {
	f := newFixture(t)
	for i, m := range []policy.Mode{policy.ModeEnforce, policy.ModeAuto, policy.ModeLocalPrefer} {
		assert.NotEmpty(t, f.filter(f.pod(fmt.Sprint(i), mode(m)), virtuals...).Names)
	}
	assert.NotEmpty(t, f.filter(f.pod("quota", quota(0)), everywhere...).Names)
	assert.Empty(t, f.written)
	assert.Empty(t, f.verified)
	f.limits = "pods=9"
	assert.EqualValues(t, 4, f.ledger.Stats().Accounts[0].Used.Pods, "but it counts when limits are set")
}

func TestAnExtenderThatDoesNotLeadGivesNoCloudSlot(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=1"
	f.notLeading = leadership.ErrNotLeading
	_, err := f.Filter(t.Context(), f.pod("a", mode(policy.ModeEnforce)), everywhere)
	require.ErrorIs(t, err, leadership.ErrNotLeading)
	assert.Empty(t, f.written)
}

func TestACloudSlotIsDecidedAgainInANewTerm(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=1"
	f.newTerm = func() {
		f.pod("b", func(p *corev1.Pod) { p.Annotations[policy.CloudSlotAnnotation] = "uid-b/0.50_1.0" })
	}
	got := f.filter(f.pod("a", mode(policy.ModeEnforce)), everywhere...)
	assert.Equal(t, policy.ReasonCloudLimits, got.Reason, "another extender has given the slot")
}

func TestANamespaceThatIsNotKnownYetIsAnError(t *testing.T) {
	f := newFixture(t)
	f.limits = "unknown"
	_, err := f.Filter(t.Context(), f.pod("a"), everywhere)
	require.ErrorContains(t, err, "namespace not found")
	_, err = f.Preempt(t.Context(), f.pod("a"), placement.Victims{})
	require.ErrorContains(t, err, "namespace not found")
}

func TestTheRefusalStaysTrueWhenTheLimitsChange(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=1,cpu=2"
	f.pod("first", on("virtual-0"))
	a := f.pod("a", mode(policy.ModeEnforce), sized("4.00_8.0"))
	got := f.filter(a, everywhere...)
	assert.Equal(t, "Spillway CloudLimitsReached: what namespace default may use in the cloud (its annotation "+
		"spillway.io/cloud-limits, or the default of the cluster) leaves no room for this Pod; it is tried again "+
		"when a Pod of the namespace ends there or the limits change; if the limits are less than the 4 vCPU and "+
		"8Gi of memory that it is billed as, request less or ask an administrator of the cluster for more", got.Refusal)
	f.limits = "pods=1,cpu=20"
	assert.Equal(t, got.Refusal, f.filter(a, everywhere...).Refusal)
}

func TestPreemptKeepsTheLimits(t *testing.T) {
	f := newFixture(t)
	f.limits = "pods=1"
	victims := placement.Victims{"virtual-0": &extenderv1.MetaVictims{}}
	kept, err := f.Preempt(t.Context(), f.pod("a", mode(policy.ModeEnforce)), victims)
	require.NoError(t, err)
	assert.Len(t, kept, 1)
	kept, err = f.Preempt(t.Context(), f.pod("b", mode(policy.ModeEnforce)), victims)
	require.NoError(t, err)
	assert.Empty(t, kept, "a has the last slot: b would evict a Pod for nothing")
}

func TestAPodThatTriesPreemptionFirstHoldsNoCloudSlot(t *testing.T) {
	for name, changes := range map[string][]change{"without a quota": nil, "with a quota": {quota(1)}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.limits = "pods=1"
			low := int32(-10)
			f.pod("buffer", stranger, on("local-0"), func(p *corev1.Pod) { p.Spec.Priority = &low })
			got := f.filter(f.pod("a", changes...), virtuals...)
			assert.Equal(t, policy.ReasonPreemptFirst, got.Reason)
			assert.Empty(t, f.written)
			assert.Equal(t, virtuals, f.filter(f.pod("b", mode(policy.ModeEnforce)), virtuals...).Names)
		})
	}
}
