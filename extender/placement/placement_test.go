package placement_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

// fixture is a Placement over real caches that the test fills. It is also its Facts and its Slots.
type fixture struct {
	*placement.Placement
	t        *testing.T
	ledger   *ledger.Ledger
	nodes    *nodes.Nodes
	pods     cache.ReflectorStore
	version  int
	requeued []string
	global   policy.Switch
	mu       sync.Mutex
	written  []string
	// slots are the annotations of the written slots, by Pod.
	slots map[string]string
	// limits are those of every namespace; "unknown" if the namespace is not known yet. annotations are its others.
	limits      string
	annotations map[string]string
	now         time.Time
	// verified contains the number of written slots at each call of VerifyTerm.
	verified []int
	// notLeading is the error of Ready and CurrentTerm, termOver that of VerifyTerm.
	notLeading, termOver error
	// newTerm is called by the next VerifyTerm, which returns ErrNewTerm.
	newTerm func()
	// writeErr and notWritten are the results of Write.
	writeErr   error
	notWritten bool
	// writeTakes is how long the API server takes to write a slot.
	writeTakes time.Duration
}

func (f *fixture) Global() policy.Switch                { return f.global }
func (f *fixture) Claims(*corev1.Pod) map[string]string { return nil }
func (f *fixture) Ready() bool                          { return true }
func (f *fixture) Namespace(string) (map[string]string, error) {
	if f.limits == "unknown" {
		return nil, errors.New("namespace not found")
	}
	annotations := map[string]string{policy.CloudLimitsAnnotation: f.limits}
	maps.Copy(annotations, f.annotations)
	return annotations, nil
}

// leader is the Leadership of the fixture, whose own Ready is that of the Facts.
type leader struct{ *fixture }

func (l leader) Ready() error { return l.notLeading }

func (f *fixture) Write(_ context.Context, pod *corev1.Pod, annotation, value string) (bool, error) {
	time.Sleep(f.writeTakes)
	if f.writeErr != nil {
		return f.notWritten, f.writeErr
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = append(f.written, pod.Name)
	f.slots[pod.Name] = annotation + ": " + value
	return false, nil
}

func (f *fixture) CurrentTerm(context.Context) (leadership.Term, error) {
	return leadership.Term{}, f.notLeading
}

func (f *fixture) VerifyTerm(context.Context, leadership.Term) error {
	f.verified = append(f.verified, len(f.written))
	if newTerm := f.newTerm; newTerm != nil {
		f.newTerm = nil
		f.ledger.ResetConfirmed()
		newTerm()
		return leadership.ErrNewTerm
	}
	return f.termOver
}

func newFixture(t *testing.T, options ...func(*placement.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, slots: map[string]string{}, now: created.Add(time.Hour)}
	rules := policy.DefaultConfig()
	rules.AllowOversize = true // Tests set the size of a Pod by its annotation alone.
	decide, err := policy.New(rules)
	require.NoError(t, err)
	n := nodes.New()
	list := []any{node("local-0", nil), node("local-1", nil)}
	for _, name := range []string{"virtual-0", "virtual-1"} {
		list = append(list, node(name, policy.VirtualNodeLabels()))
	}
	require.NoError(t, n.Store().Replace(list, "1"))
	f.nodes = n
	billing := placement.Billing{Policy: decide, Facts: f}
	f.ledger = ledger.New(n, billing, func(pod ledger.PodRef) { f.requeued = append(f.requeued, pod.Name) })
	f.pods = f.ledger.Store(slog.New(slog.DiscardHandler))
	require.NoError(t, f.pods.Replace(nil, "1"))
	f.version = 1
	config := placement.Config{
		Policy: decide, Facts: f, Ledger: f.ledger, Nodes: n, Slots: f, Leadership: leader{f},
		Timeout: time.Minute, // A busy machine must not end an answer.
		Now:     func() time.Time { return f.now },
		Logger:  slog.New(slog.DiscardHandler),
	}
	for _, option := range options {
		option(&config)
	}
	f.Placement = placement.New(config)
	return f
}

// impatient is for tests in which an answer waits for what does not come.
func impatient(c *placement.Config) { c.Timeout = 50 * time.Millisecond }

func node(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// created is when all Pods are created.
var created = time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC)

type change func(*corev1.Pod)

func quota(n int) change {
	return func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = strconv.Itoa(n) }
}
func mode(m policy.Mode) change {
	return func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: string(m)} }
}
func on(node string) change { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// stranger makes the Pod one of another revision.
func stranger(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }

// unmarked removes the marker resource: only a scheduler of Spillway's own calls the extender for such a Pod.
func unmarked(p *corev1.Pod) { p.Spec.Containers = nil }

func tolerant(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()} }

// pod creates a Pod of one ReplicaSet with the marker resource and adds it to the ledger.
func (f *fixture) pod(name string, changes ...change) *corev1.Pod {
	f.t.Helper()
	f.version++
	isController := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(f.version),
		Annotations: map[string]string{}, CreationTimestamp: metav1.NewTime(created),
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", UID: "rs", Controller: &isController}},
	}}
	marker := corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
	pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: marker}}}
	for _, apply := range changes {
		apply(pod)
	}
	require.NoError(f.t, f.pods.Update(pod))
	return pod
}

func (f *fixture) filter(pod *corev1.Pod, names ...string) placement.FilterResult {
	f.t.Helper()
	result, err := f.Filter(f.t.Context(), pod, names)
	require.NoError(f.t, err)
	return result
}

var (
	everywhere = []string{"local-0", "virtual-0", "local-1", "virtual-1"}
	locals     = []string{"local-0", "local-1"}
	virtuals   = []string{"virtual-0", "virtual-1"}
)

func TestFilterReturnsOneClass(t *testing.T) {
	cases := map[string]struct {
		global  policy.Switch
		changes []change
		names   []string
		want    []string
		reason  policy.Reason
	}{
		"without a key a Pod goes to local nodes first": {
			policy.SwitchUnset, nil, everywhere, locals, policy.ReasonSwitchOn,
		},
		"without a key a Pod bursts if no local node fits": {
			policy.SwitchUnset, nil, virtuals, virtuals, policy.ReasonSwitchOn,
		},
		"with the switch off a Pod does not burst": {
			policy.SwitchOff, nil, everywhere, locals, policy.ReasonLocalOnly,
		},
		"with the switch off a Pod waits if no local node fits": {
			policy.SwitchOff, nil, virtuals, []string{}, policy.ReasonLocalOnly,
		},
		"enforce goes to the cloud": {
			policy.SwitchUnset, []change{mode(policy.ModeEnforce)}, everywhere, virtuals, policy.ReasonCloudOnly,
		},
		"enforce does not go to local nodes": {
			policy.SwitchUnset, []change{mode(policy.ModeEnforce)}, locals, []string{}, policy.ReasonCloudOnly,
		},
		"off stays on local nodes": {
			policy.SwitchOn, []change{mode(policy.ModeOff)}, everywhere, locals, policy.ReasonLocalOnly,
		},
		"localPrefer goes to local nodes first": {
			policy.SwitchOff, []change{mode(policy.ModeLocalPrefer)}, everywhere, locals, policy.ReasonLabelLocalPrefer,
		},
		"localPrefer bursts if no local node fits": {
			policy.SwitchOff, []change{mode(policy.ModeLocalPrefer)}, virtuals, virtuals, policy.ReasonLabelLocalPrefer,
		},
		"auto leaves the choice of the class to the scores": {
			policy.SwitchUnset, []change{mode(policy.ModeAuto)}, everywhere, append(slices.Clone(locals), virtuals...),
			policy.ReasonLabelAuto,
		},
		"below its quota a Pod goes to local nodes": {
			policy.SwitchOn, []change{quota(1)}, everywhere, locals, policy.ReasonSwitchOn,
		},
		"with a quota of 0 a Pod goes to the cloud": {
			policy.SwitchOn, []change{quota(0)}, everywhere, virtuals, policy.ReasonLocalQuota,
		},
		"below its quota a Pod bursts if no local node fits": {
			policy.SwitchOn, []change{quota(1)}, virtuals, virtuals, policy.ReasonSwitchOn,
		},
		"a quota has no effect with the switch off": {
			policy.SwitchOff, []change{quota(0)}, everywhere, locals, policy.ReasonLocalOnly,
		},
		"with a quota of 0 a Pod waits if no virtual node fits": {
			policy.SwitchOn, []change{quota(0)}, locals, []string{}, policy.ReasonLocalQuota,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.global = tc.global
			got := f.filter(f.pod("a", tc.changes...), tc.names...)
			assert.Equal(t, tc.want, got.Names)
			assert.Equal(t, tc.reason, got.Reason)
			assert.Equal(
				t,
				len(tc.want) == 0,
				got.Refusal != "",
				"a refusal is set only if the Pod waits: %q",
				got.Refusal,
			)
		})
	}
}

func TestAQuotaOfOneOfFour(t *testing.T) {
	f := newFixture(t)
	local := 0
	for i := range 4 {
		if slices.Equal(f.filter(f.pod(fmt.Sprint(i), quota(1)), everywhere...).Names, locals) {
			local++
		}
	}
	assert.Equal(t, 1, local)
	assert.Equal(t, []string{"0"}, f.written, "the slot is written once, before the response")
}

func TestTheRefusalIsConstant(t *testing.T) {
	f := newFixture(t)
	f.pod("bound", quota(1), on("local-0"))
	first := f.filter(f.pod("a", quota(1)), locals...)
	second := f.filter(f.pod("a", quota(1)), "local-1", "local-0")
	assert.Equal(t, first.Refusal, second.Refusal)
}

func TestTheRefusalSaysWhatRefused(t *testing.T) {
	tolerates := func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()} }
	locked := func(f *fixture) {
		for _, name := range virtuals {
			node := node(name, policy.VirtualNodeLabels())
			node.Annotations = map[string]string{policy.SoldOutUntilAnnotation: "2026-11-01T12:00:00Z"}
			require.NoError(f.t, f.nodes.Store().Update(node))
		}
	}
	none := func(f *fixture) {
		for _, name := range virtuals {
			require.NoError(f.t, f.nodes.Store().Delete(node(name, policy.VirtualNodeLabels())))
		}
	}
	for name, tc := range map[string]struct {
		cluster func(*fixture)
		pod     []change
		want    string
	}{
		"a filter of the scheduler, such as anti-affinity": {
			nil, []change{quota(0), tolerates},
			"Spillway LocalQuotaReached: this revision has its LOCAL_REPLICAS on local nodes, and kube-scheduler's " +
				"filters exclude every virtual node: the condition PodScheduled has their reasons; " +
				"the scheduler retries the Pod when a local replica ends or a virtual node changes",
		},
		"the taint of virtual nodes": {
			nil, []change{quota(0)}, "the Pod does not tolerate the taint virtual-kubelet.io/provider of virtual nodes",
		},
		"the lock": {locked, []change{quota(0), tolerates},
			"the cloud is sold out: every virtual node is locked"},
		"no virtual node": {none, []change{quota(0), tolerates}, "the cluster has no virtual node"},
		"enforce": {
			locked, []change{mode(policy.ModeEnforce), tolerates},
			"Spillway CloudOnly: the burst label is enforce: virtual nodes only, and the cloud is sold out: " +
				"every virtual node is locked",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if tc.cluster != nil {
				tc.cluster(f)
			}
			got := f.filter(f.pod("a", tc.pod...), locals...)
			assert.Empty(t, got.Names)
			assert.Contains(t, got.Refusal, tc.want)
			assert.Equal(t, got.Refusal, f.filter(f.pod("a", tc.pod...), locals...).Refusal)
		})
	}
}

// TestAPodThatNoVirtualNodeSatisfiesHasNoQuota tests that the quota means nothing for Pods that only local nodes can
// satisfy.
func TestAPodThatNoVirtualNodeSatisfiesHasNoQuota(t *testing.T) {
	gpu := func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "train", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")},
		}}}
	}
	fast := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disktype": "ssd"} }
	for name, constraint := range map[string]change{"a GPU": gpu, "a nodeSelector": fast} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for i := range 3 {
				assert.Equal(t, locals, f.filter(f.pod(fmt.Sprint(i), quota(1), constraint), locals...).Names)
			}
			assert.Equal(t, locals, f.filter(f.pod("enforced", mode(policy.ModeEnforce), constraint), locals...).Names)
			assert.Empty(t, f.written, "no slot is given")
		})
	}
	f := newFixture(t)
	fastNode := node("virtual-1", policy.VirtualNodeLabels())
	fastNode.Labels["disktype"] = "ssd"
	require.NoError(t, f.nodes.Store().Update(fastNode))
	assert.Equal(t, locals, f.filter(f.pod("a", quota(1), fast), "local-0", "local-1", "virtual-1").Names)
	assert.Equal(t, []string{"virtual-1"}, f.filter(f.pod("b", quota(1), fast), "local-0", "virtual-1").Names,
		"a virtual node has the label now")
}

func TestASlotThatCannotBeWritten(t *testing.T) {
	t.Run("is not reported, and stays reserved while the write may have succeeded", func(t *testing.T) {
		f := newFixture(t)
		a, b := f.pod("a", quota(1)), f.pod("b", quota(1))
		f.writeErr = errors.New("timed out")
		_, err := f.Filter(t.Context(), a, everywhere)
		require.ErrorContains(t, err, "timed out")
		f.writeErr = nil
		assert.Equal(t, virtuals, f.filter(b, everywhere...).Names)
		assert.Equal(t, locals, f.filter(a, everywhere...).Names)
		assert.Equal(t, []string{"a"}, f.written)
	})
	t.Run("is free again if the API server has refused the write", func(t *testing.T) {
		f := newFixture(t)
		a, b := f.pod("a", quota(1)), f.pod("b", quota(1))
		f.writeErr, f.notWritten = errors.New("forbidden"), true
		_, err := f.Filter(t.Context(), a, everywhere)
		require.Error(t, err)
		f.writeErr = nil
		assert.Equal(t, locals, f.filter(b, everywhere...).Names)
	})
}

// TestAnAPIServerThatIsSlow tests that a slow API server delays the scheduler once, and not once for each slot.
func TestAnAPIServerThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, impatient)
		f.writeTakes = 2 * time.Second
		var pods []*corev1.Pod
		begun := time.Now()
		for i := range 10 {
			pods = append(pods, f.pod(fmt.Sprint(i), quota(10)))
			for range 2 { // A retry does not write the slot again.
				_, err := f.Filter(t.Context(), pods[i], everywhere)
				require.ErrorContains(t, err, "the API server is slow")
			}
		}
		assert.Equal(t, 50*time.Millisecond, time.Since(begun), "one timeout for all Pods")
		over := f.filter(f.pod("over", quota(10)), everywhere...)
		assert.Equal(t, virtuals, over.Names, "a slot whose write is in progress is not free")

		time.Sleep(f.writeTakes)
		synctest.Wait()
		assert.Len(t, f.written, 10, "each slot is written once, in the background")
		f.writeTakes = 0
		for _, pod := range pods {
			pod.Annotations[policy.LocalSlotAnnotation] = string(pod.UID)
			assert.Equal(t, locals, f.filter(pod, everywhere...).Names)
		}
		require.Len(t, f.written, 10)

		late := f.pod("late", quota(12))
		_, err := f.Filter(t.Context(), late, everywhere)
		require.ErrorContains(
			t,
			err,
			"the API server is slow",
			"the next write shows that the API server is fast again",
		)
		synctest.Wait()
		assert.Equal(t, locals, f.filter(late, everywhere...).Names)
		assert.Equal(t, locals, f.filter(f.pod("later", quota(12)), everywhere...).Names)
	})
}

// TestAmongSeveralExtenders tests that every later leader knows what the extender reports.
func TestAmongSeveralExtenders(t *testing.T) {
	t.Run("local is reported only in a term that was current after the slot was written", func(t *testing.T) {
		f := newFixture(t)
		assert.Equal(t, locals, f.filter(f.pod("a", quota(1)), everywhere...).Names)
		assert.Equal(t, []int{1}, f.verified)
	})
	t.Run("this holds also if the slot was written before", func(t *testing.T) {
		f := newFixture(t)
		pod := f.pod("a", quota(1), func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) })
		assert.Equal(t, locals, f.filter(pod, everywhere...).Names)
		assert.Equal(t, []int{0}, f.verified)
	})
	t.Run("an extender whose term is over returns an error", func(t *testing.T) {
		f := newFixture(t)
		f.termOver = leadership.ErrNotLeading
		a := f.pod("a", quota(1))
		for range 2 {
			_, err := f.Filter(t.Context(), a, everywhere)
			require.ErrorIs(t, err, leadership.ErrNotLeading)
		}
		_, err := f.Preempt(t.Context(), a, placement.Victims{"local-0": &extenderv1.MetaVictims{}})
		require.ErrorIs(t, err, leadership.ErrNotLeading)
	})
	t.Run("an extender that does not lead gives no slot", func(t *testing.T) {
		f := newFixture(t)
		f.notLeading = leadership.ErrNotLeading
		require.ErrorIs(t, f.Placement.Ready(), leadership.ErrNotLeading)
		_, err := f.Filter(t.Context(), f.pod("a", quota(1)), everywhere)
		require.ErrorIs(t, err, leadership.ErrNotLeading)
		assert.Empty(t, f.written)
		f.notLeading = nil
		require.NoError(t, f.Placement.Ready())
		assert.Equal(t, locals, f.filter(f.pod("b", quota(1)), everywhere...).Names)
	})
	t.Run("the Lease is not read for a Pod that goes to the cloud", func(t *testing.T) {
		f := newFixture(t)
		assert.Equal(t, virtuals, f.filter(f.pod("a", quota(0)), everywhere...).Names)
		assert.Empty(t, f.verified)
	})
}

func TestFilterWaitsForTheWatch(t *testing.T) {
	f := newFixture(t, impatient)
	ahead := f.pod("a", quota(1)).DeepCopy()
	ahead.ResourceVersion = "99"
	_, err := f.Filter(t.Context(), ahead, everywhere)
	require.ErrorContains(t, err, "waiting for the watch of Pods to reach the version that the scheduler has seen")
}

func TestASlotIsDecidedAgainInANewTerm(t *testing.T) {
	t.Run("another extender has given the slot", func(t *testing.T) {
		f := newFixture(t)
		f.newTerm = func() {
			f.pod("b", quota(1), func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) })
		}
		assert.Equal(t, virtuals, f.filter(f.pod("a", quota(1)), everywhere...).Names)
		assert.Equal(t, []int{1}, f.verified)
	})
	t.Run("no extender has given the slot", func(t *testing.T) {
		f := newFixture(t)
		f.newTerm = func() {}
		assert.Equal(t, locals, f.filter(f.pod("a", quota(1)), everywhere...).Names)
		assert.Len(t, f.verified, 2, "the new term is verified too")
	})
}

func TestAnUnknownNodeIsAnErrorOfTheClient(t *testing.T) {
	f := newFixture(t, impatient)
	_, err := f.Filter(t.Context(), f.pod("a"), []string{"local-0", "nowhere"})
	var unknown *nodes.UnknownNodeError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, "nowhere", unknown.Name)
}

func TestAPodThatPolicyRefusedIsRequeuedWhenPolicyChanges(t *testing.T) {
	f := newFixture(t)
	f.global = policy.SwitchOff
	assert.Empty(t, f.filter(f.pod("a", quota(0)), virtuals...).Names)
	f.global = policy.SwitchOn
	f.ledger.PolicyChanged()
	assert.Equal(t, []string{"a"}, f.requeued)
}

func TestTheCloudComesLast(t *testing.T) {
	priority := func(value int32) change { return func(p *corev1.Pod) { p.Spec.Priority = &value } }
	never := func(p *corev1.Pod) { policy := corev1.PreemptNever; p.Spec.PreemptionPolicy = &policy }
	group := func(p *corev1.Pod) {
		p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
	}
	refused := func(text string) change {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: text,
			}}
		}
	}
	nominated := func(node string) change { return func(p *corev1.Pod) { p.Status.NominatedNodeName = node } }
	tried := refused("0/4 nodes are available: 1 Spillway PreemptFirst: no local node fits; " +
		"Pods of lower priority on local nodes are evicted before the Pod bursts.")

	cases := map[string]struct {
		changes []change
		want    []string
	}{
		"a Pod bursts at once if all local Pods have its priority":   {[]change{priority(-10)}, virtuals},
		"preemption comes first if a local Pod has a lower priority": {nil, []string{}},
		"preemption comes first with a quota":                        {[]change{quota(1)}, []string{}},
		"preemption comes first with localPrefer": {
			[]change{mode(policy.ModeLocalPrefer)},
			[]string{},
		},
		"preemption comes first with auto":              {[]change{mode(policy.ModeAuto)}, []string{}},
		"a Pod bursts after preemption without success": {[]change{tried}, virtuals},
		"preemption comes first after a refusal for another reason": {
			[]change{refused("3 Insufficient cpu")},
			[]string{},
		},
		"a Pod waits while preemption is in progress": {
			[]change{tried, nominated("local-0")},
			[]string{},
		},
		"a Pod of a scheduling group bursts at once": {[]change{group}, virtuals},
		"a Pod that never preempts bursts at once":   {[]change{never}, virtuals},
		"a Pod over its quota bursts at once":        {[]change{quota(0)}, virtuals},
		"enforce bursts at once":                     {[]change{mode(policy.ModeEnforce)}, virtuals},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.pod("buffer", stranger, on("local-0"), priority(-10))
			got := f.filter(f.pod("a", tc.changes...), virtuals...)
			assert.Equal(t, tc.want, got.Names)
		})
	}
	t.Run("a Pod for which a local node fits goes there", func(t *testing.T) {
		f := newFixture(t)
		f.pod("buffer", stranger, on("local-0"), priority(-10))
		assert.Equal(t, locals, f.filter(f.pod("a"), everywhere...).Names)
	})
}

// The scheduler takes an error of Preempt for "no Pod can be evicted", and asks no second time.
func TestAPodDoesNotBurstBecausePreemptHadNoAnswer(t *testing.T) {
	f := newFixture(t)
	lowest := int32(-10)
	f.pod("buffer", stranger, on("local-0"), func(p *corev1.Pod) { p.Spec.Priority = &lowest })
	pod := f.pod("a", quota(1))
	first := f.filter(pod, virtuals...)
	assert.Equal(t, policy.ReasonPreemptFirst, first.Reason)
	victims := placement.Victims{"local-0": &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: "uid-buffer"}}}}
	f.writeErr = errors.New("the API server is slow")
	_, err := f.Preempt(t.Context(), pod, victims)
	require.ErrorIs(t, err, f.writeErr)
	assert.Equal(t, []string{"a"}, f.requeued, "the scheduler must ask again")

	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: first.Refusal,
	}}
	assert.Equal(t, policy.ReasonPreemptFirst, f.filter(pod, virtuals...).Reason)
	f.writeErr = nil
	kept, err := f.Preempt(t.Context(), pod, victims)
	require.NoError(t, err)
	assert.Len(t, kept, 1)
	assert.Equal(t, virtuals, f.filter(pod, virtuals...).Names, "after an answer, no nominated node means no success")
}

func TestPreemptKeepsNodesWhereThePodMayRun(t *testing.T) {
	cases := map[string]struct {
		changes []change
		names   []string
		want    []string
	}{
		"below its quota a Pod may evict local Pods":       {[]change{quota(1)}, locals, locals},
		"over its quota a Pod evicts no local Pods":        {[]change{quota(0)}, locals, nil},
		"over its quota a Pod may evict Pods in the cloud": {[]change{quota(0)}, everywhere, virtuals},
		"enforce evicts no local Pods": {
			[]change{mode(policy.ModeEnforce)},
			everywhere,
			virtuals,
		},
		"off evicts no Pods in the cloud": {[]change{mode(policy.ModeOff)}, everywhere, locals},
		"localPrefer evicts local Pods first": {
			[]change{mode(policy.ModeLocalPrefer)},
			everywhere,
			locals,
		},
		"localPrefer evicts Pods in the cloud if it must": {
			[]change{mode(policy.ModeLocalPrefer)},
			virtuals,
			virtuals,
		},
		"auto leaves the choice of victims to the scheduler": {[]change{mode(policy.ModeAuto)}, everywhere, everywhere},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			victims := placement.Victims{}
			for _, n := range tc.names {
				victims[n] = &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: "victim"}}}
			}
			kept, err := f.Preempt(t.Context(), f.pod("a", tc.changes...), victims)
			require.NoError(t, err)
			assert.ElementsMatch(t, tc.want, slices.Collect(maps.Keys(kept)))
		})
	}
}

// TestANodeWithoutVictims: from version 1.38 on, the scheduler sends nodes on which no Pod must be evicted, and which
// an extender refused. Each may be in the answer as it is, or be left out.
func TestANodeWithoutVictims(t *testing.T) {
	cases := map[string]struct {
		changes []change
		victims placement.Victims
		want    placement.Victims
	}{
		"stays where the Pod may run: another extender may add victims": {
			[]change{quota(1)},
			placement.Victims{"local-0": {Pods: []*extenderv1.MetaPod{}}, "virtual-0": {Pods: []*extenderv1.MetaPod{}}},
			placement.Victims{"local-0": {Pods: []*extenderv1.MetaPod{}}},
		},
		"is left out where the Pod may not run": {
			[]change{quota(0)}, placement.Victims{"local-0": {Pods: []*extenderv1.MetaPod{}}}, placement.Victims{},
		},
		"gets no victims, and those of other nodes stay": {
			[]change{mode(policy.ModeAuto)},
			placement.Victims{"local-0": {}, "local-1": {Pods: []*extenderv1.MetaPod{{UID: "a"}}, NumPDBViolations: 1}},
			placement.Victims{"local-0": {}, "local-1": {Pods: []*extenderv1.MetaPod{{UID: "a"}}, NumPDBViolations: 1}},
		},
		"no node at all is an answer without nodes": {[]change{quota(1)}, placement.Victims{}, placement.Victims{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			kept, err := f.Preempt(t.Context(), f.pod("a", tc.changes...), tc.victims)
			require.NoError(t, err)
			assert.Equal(t, tc.want, kept)
		})
	}
}

func TestPreemptReservesTheSlotForWhichPodsAreEvicted(t *testing.T) {
	f := newFixture(t)
	victims := placement.Victims{"local-0": &extenderv1.MetaVictims{}}
	_, err := f.Preempt(t.Context(), f.pod("a", quota(1)), victims)
	require.NoError(t, err)
	assert.Equal(t, virtuals, f.filter(f.pod("b", quota(1)), everywhere...).Names)
	assert.Equal(t, []string{"a"}, f.written)
}

// TestPreemptDoesNotFailOnAnAPIServerThatIsSlow: after an error the scheduler would not retry a Pod that only its own
// plugins have rejected before something else changes.
func TestPreemptDoesNotFailOnAnAPIServerThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.writeTakes = 2 * time.Second
		pod := f.pod("a", quota(1))
		kept, err := f.Preempt(t.Context(), pod, placement.Victims{"local-0": &extenderv1.MetaVictims{}})
		require.NoError(t, err)
		assert.Len(t, kept, 1)
		assert.Equal(t, virtuals, f.filter(f.pod("b", quota(1)), everywhere...).Names, "the slot is not free")
		_, err = f.Filter(t.Context(), pod, locals)
		require.ErrorContains(t, err, "the API server is slow", "a Pod is placed only when its slot is stored")
		time.Sleep(f.writeTakes)
		synctest.Wait()
		pod.Annotations[policy.LocalSlotAnnotation] = string(pod.UID)
		assert.Equal(t, locals, f.filter(pod, locals...).Names)
		assert.Equal(t, []string{"a"}, f.written)
	})
}

func TestPrioritize(t *testing.T) {
	score := func(f *fixture, names ...string) map[string]int64 {
		scores := map[string]int64{}
		list, err := f.Prioritize(f.t.Context(), f.pod("new"), names)
		require.NoError(f.t, err)
		for _, s := range list {
			scores[s.Host] = s.Score
		}
		return scores
	}
	t.Run("local nodes have equal scores", func(t *testing.T) {
		assert.Equal(t, map[string]int64{"local-0": 0, "local-1": 0}, score(newFixture(t), locals...))
	})
	t.Run("local nodes score higher than virtual ones", func(t *testing.T) {
		got := score(newFixture(t), "local-0", "virtual-0")
		assert.Equal(t, map[string]int64{"local-0": 10, "virtual-0": 3}, got)
	})
	t.Run("the virtual node with the fewest Pods scores highest", func(t *testing.T) {
		f := newFixture(t)
		f.pod("a", on("virtual-0"))
		f.pod("b", on("virtual-0"))
		f.pod("c", on("virtual-1"))
		assert.Equal(t, map[string]int64{"virtual-0": 0, "virtual-1": 5}, score(f, virtuals...))
	})
}
