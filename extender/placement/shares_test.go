package placement_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

func annotated(key, value string) change {
	return func(p *corev1.Pod) { p.Annotations[key] = value }
}

func waits(wait string) change { return annotated(policy.BurstAfterAnnotation, wait) }

// TestSharesOfARevision tests which nodes are left for the last of several Pods of a revision.
func TestSharesOfARevision(t *testing.T) {
	half, least := annotated(policy.LocalReplicasAnnotation, "50%"), annotated(policy.LocalMinAnnotation, "2")
	most, cloud := annotated(policy.LocalMaxAnnotation, "1"), annotated(policy.CloudMaxAnnotation, "1")
	local, virtual := on("local-0"), on("virtual-0")
	for name, tc := range map[string]struct {
		others [][]change
		pod    []change
		names  []string
		want   []string
		reason policy.Reason
	}{
		"half of three is rounded up": {[][]change{{local}, {virtual}}, []change{half}, everywhere, locals,
			policy.ReasonSwitchOn},
		"half of four is two": {[][]change{{local}, {local}, {virtual}}, []change{half}, everywhere, virtuals,
			policy.ReasonLocalQuota},
		"a Pod of the minimum waits for room": {[][]change{{local}}, []change{least}, virtuals, []string{},
			policy.ReasonLocalMin},
		"a Pod beyond the minimum bursts": {[][]change{{local}, {local}}, []change{least}, virtuals, virtuals,
			policy.ReasonSwitchOn},
		"a Pod of the minimum goes to a local node": {nil, []change{least}, everywhere, locals, policy.ReasonSwitchOn},
		"the maximum sends others to the cloud": {[][]change{{local}}, []change{most}, everywhere, virtuals,
			policy.ReasonLocalQuota},
		"the maximum is named": {[][]change{{local}}, []change{most}, locals, []string{}, policy.ReasonLocalQuota},
		"the cloud maximum lets a Pod wait": {[][]change{{virtual}}, []change{cloud}, virtuals, []string{},
			policy.ReasonCloudMax},
		"the cloud maximum does not concern local nodes": {[][]change{{virtual}}, []change{cloud}, everywhere, locals,
			policy.ReasonSwitchOn},
		"the cloud maximum lets a Pod with enforce wait": {[][]change{{virtual}},
			[]change{cloud, mode(policy.ModeEnforce)}, everywhere, []string{}, policy.ReasonCloudMax},
		"enforce goes to the cloud below it": {nil, []change{cloud, mode(policy.ModeEnforce)}, everywhere, virtuals,
			policy.ReasonCloudOnly},
		"enforce has no other shares": {[][]change{{virtual}}, []change{least, mode(policy.ModeEnforce)}, everywhere,
			virtuals, policy.ReasonCloudOnly},
		"a Pod waits until it may burst":  {nil, []change{waits("2h")}, virtuals, []string{}, policy.ReasonBurstAfter},
		"a Pod bursts when it has waited": {nil, []change{waits("1h")}, virtuals, virtuals, policy.ReasonSwitchOn},
		"a Pod that waits may go to a local node": {nil, []change{waits("2h")}, everywhere, locals,
			policy.ReasonSwitchOn},
		"auto waits too": {nil, []change{waits("2h"), mode(policy.ModeAuto)}, virtuals, []string{},
			policy.ReasonBurstAfter},
		"auto prefers local nodes as long": {nil, []change{waits("2h"), mode(policy.ModeAuto)}, everywhere, locals,
			policy.ReasonLabelAuto},
		"enforce does not wait": {nil, []change{waits("2h"), mode(policy.ModeEnforce)}, everywhere, virtuals,
			policy.ReasonCloudOnly},
		"a Pod over its quota does not wait": {[][]change{{local}}, []change{waits("2h"), quota(1)}, virtuals, virtuals,
			policy.ReasonLocalQuota},
		"a Pod below its quota waits": {nil, []change{waits("2h"), quota(1)}, virtuals, []string{},
			policy.ReasonBurstAfter},
		"a Pod of the minimum waits longer": {nil, []change{waits("1h"), least}, virtuals, []string{},
			policy.ReasonLocalMin},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for i, changes := range tc.others {
				f.pod(fmt.Sprint(i), changes...)
			}
			pod := f.pod("a", tc.pod...)
			said := f.dryRun(pod, tc.names...)
			got := f.filter(pod, tc.names...)
			assert.Equal(t, said, got)
			assert.Equal(t, tc.want, got.Names)
			assert.Equal(t, tc.reason, got.Reason)
			assert.Equal(t, got, f.filter(pod, tc.names...), "it does not change when it is asked again")
			if len(tc.want) == 0 {
				assert.Equal(t, placement.Waiting, f.explain(pod, tc.names...).Decision)
				require.Contains(t, got.Refusal, policy.RefusalPrefix)
			}
		})
	}
}

func TestARefusalNamesWhatLimitsTheRevision(t *testing.T) {
	f := newFixture(t)
	f.pod("other", on("local-0"))
	got := f.filter(f.pod("a", annotated(policy.LocalMaxAnnotation, "1"), tolerant), locals...)
	assert.Contains(t, got.Refusal, "this revision has its spillway.io/local-max on local nodes")
	got = f.filter(f.pod("b", quota(1), annotated(policy.LocalMaxAnnotation, "50%"), tolerant), locals...)
	assert.Contains(t, got.Refusal, "this revision has its LOCAL_REPLICAS or spillway.io/local-max on local nodes")
}

func TestTheDeadlineIsAPointInTime(t *testing.T) {
	for name, changes := range map[string][]change{
		"without shares": {waits("2h")}, "with a quota": {waits("2h"), quota(1)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			pod := f.pod("a", changes...)
			first := f.filter(pod, virtuals...)
			assert.Contains(t, first.Refusal, "until 2026-11-30T22:00:00Z")
			f.now = f.now.Add(30 * time.Minute)
			assert.Equal(t, first, f.filter(pod, virtuals...))
			assert.Empty(t, f.requeued)
			f.now = created.Add(2 * time.Hour)
			assert.Equal(t, virtuals, f.filter(pod, virtuals...).Names)
		})
	}
}

// A Pod that the ledger does not have yet would never be requeued at its deadline.
func TestAPodIsRefusedUntilItsDeadlineOnceTheLedgerKnowsIt(t *testing.T) {
	f := newFixture(t, impatient)
	ahead := f.pod("a", waits("2h")).DeepCopy()
	ahead.ResourceVersion = "99"
	_, err := f.Filter(t.Context(), ahead, virtuals)
	require.ErrorContains(t, err, "waiting for the watch of Pods")
	assert.Equal(t, locals, f.filter(ahead, everywhere...).Names, "a Pod that does not wait needs no watch")
	f.now = created.Add(2 * time.Hour)
	assert.Equal(t, virtuals, f.filter(ahead, virtuals...).Names)
}

// The scheduler tries preemption for every Pod that is refused. A reason that changes with each attempt would make it
// try the Pod again and again.
func TestAPodThatCannotBurstIsNotToldToPreemptFirst(t *testing.T) {
	tried := func(refusal string) change {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Message: "0/4 nodes are available: " + refusal,
			}}
		}
	}
	least, none := annotated(policy.LocalMinAnnotation, "1"), annotated(policy.CloudMaxAnnotation, "0")
	for name, tc := range map[string]struct {
		limits  string
		changes []change
		reason  policy.Reason
	}{
		"it waits for room":              {"", []change{least}, policy.ReasonLocalMin},
		"it may not burst yet":           {"", []change{waits("2h")}, policy.ReasonBurstAfter},
		"its revision has no more room":  {"", []change{none}, policy.ReasonCloudMax},
		"its namespace has no more room": {"cpu=100m", nil, policy.ReasonCloudLimits},
		"nor for a Pod with a quota":     {"cpu=100m", []change{quota(1)}, policy.ReasonCloudLimits},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.limits = tc.limits
			f.pod("buffer", stranger, on("local-0"), func(p *corev1.Pod) { p.Spec.Priority = new(int32(-10)) })
			got := f.filter(f.pod("a", tc.changes...), virtuals...)
			require.Equal(t, tc.reason, got.Reason)
			again := append(tc.changes, tried(got.Refusal))
			assert.Equal(t, got, f.filter(f.pod("a", again...), virtuals...))
		})
	}
}

func TestPreemptOfAPodThatWaits(t *testing.T) {
	victims := placement.Victims{}
	for _, n := range everywhere {
		victims[n] = &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: "victim"}}}
	}
	cloud := placement.Victims{"virtual-0": victims["virtual-0"]}
	for name, changes := range map[string][]change{
		"of the minimum":  {annotated(policy.LocalMinAnnotation, "1")},
		"with a deadline": {waits("2h")},
		"with both":       {waits("2h"), quota(1)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			kept, err := f.Preempt(t.Context(), f.pod("a", changes...), cloud)
			require.NoError(t, err)
			assert.Empty(t, kept, "it may not burst")
			kept, err = f.Preempt(t.Context(), f.pod("a", changes...), victims)
			require.NoError(t, err)
			assert.Len(t, kept, 2)
			assert.Contains(t, kept, "local-0")
		})
	}
}

func TestACloudMaximumIsKeptAsLimitsAre(t *testing.T) {
	f := newFixture(t)
	atMostOne := annotated(policy.CloudMaxAnnotation, "1")
	assert.Equal(t, virtuals, f.filter(f.pod("a", atMostOne), virtuals...).Names)
	assert.Equal(t, "spillway.io/cloud-slot: uid-a/0.50_1.0", f.slots["a"], "also without limits")
	assert.Equal(t, []int{1}, f.verified, "in a term that was current after the slot was written")
	assert.Equal(t, policy.ReasonCloudMax, f.filter(f.pod("b", atMostOne), virtuals...).Reason)
	f.pod("a", atMostOne, on("virtual-0"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	assert.Equal(t, []string{"b"}, f.requeued)
	assert.Equal(t, virtuals, f.filter(f.pod("b", atMostOne), virtuals...).Names)
	f.newTerm = func() {
		f.pod("d", annotated(policy.CloudSlotAnnotation, "uid-d/0.50_1.0"))
	}
	f.pod("b", atMostOne, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	assert.Equal(t, policy.ReasonCloudMax, f.filter(f.pod("e", atMostOne), virtuals...).Reason,
		"another extender has given the slot")
}

func TestSharesOfTheNamespace(t *testing.T) {
	f := newFixture(t)
	f.annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	assert.Equal(t, locals, f.filter(f.pod("a", tolerant, unmarked), everywhere...).Names)
	assert.Equal(t, virtuals, f.filter(f.pod("b", tolerant, unmarked), everywhere...).Names, "they are managed")
	waiting := f.pod("d", tolerant)
	assert.Equal(t, policy.ReasonLocalQuota, f.filter(waiting, locals...).Reason)
	f.annotations[policy.LocalReplicasAnnotation] = "2"
	f.ledger.PolicyChanged()
	assert.Equal(t, []string{"d"}, f.requeued)
	assert.Equal(t, locals, f.filter(waiting, locals...).Names)
	assert.Equal(t, policy.ReasonUnmanaged, f.filter(f.pod("e", unmarked), locals...).Reason, "it cannot burst")
}
