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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

// desk is a Placement over real caches that the test fills, with a switch and a slot writer that it sets.
type desk struct {
	*placement.Placement
	t       *testing.T
	ledger  *ledger.Ledger
	pods    cache.ReflectorStore
	version int
	woken   []string
	global  policy.Switch
	mu      sync.Mutex
	written []string
	// confirmed has, for each time that the term was confirmed, how many slots had been written by then.
	confirmed           []int
	notLeading, deposed error
	// begun happens while the term is confirmed, once: another has begun.
	begun    func()
	writeErr error
	definite bool
	// writeTakes is how long the API server takes to write a slot.
	writeTakes time.Duration
}

func (d *desk) Global() policy.Switch                { return d.global }
func (d *desk) Claims(*corev1.Pod) map[string]string { return nil }
func (d *desk) Ready() bool                          { return true }

// leadership is the desk's, which has a Ready of the facts already.
type leadership struct{ *desk }

func (l leadership) Ready() error { return l.notLeading }

func (d *desk) Write(_ context.Context, pod *corev1.Pod) (bool, error) {
	time.Sleep(d.writeTakes)
	if d.writeErr != nil {
		return d.definite, d.writeErr
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = append(d.written, pod.Name)
	return false, nil
}

func (d *desk) Enter(context.Context) (leader.Term, error) { return leader.Term{}, d.notLeading }

func (d *desk) Confirm(context.Context, leader.Term) error {
	d.confirmed = append(d.confirmed, len(d.written))
	if begun := d.begun; begun != nil {
		d.begun = nil
		d.ledger.Disown()
		begun()
		return leader.ErrNewTerm
	}
	return d.deposed
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t}
	decide, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	n := nodes.New(func() {})
	list := []any{node("local-0", nil), node("local-1", nil)}
	for _, name := range []string{"virtual-0", "virtual-1"} {
		list = append(list, node(name, map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}))
	}
	require.NoError(t, n.Store().Replace(list, "1"))
	d.ledger = ledger.New(n.IsVirtual, func(pod ledger.PodRef) { d.woken = append(d.woken, pod.Name) })
	d.pods = d.ledger.Store(slog.New(slog.DiscardHandler))
	require.NoError(t, d.pods.Replace(nil, "1"))
	d.version = 1
	d.Placement = placement.New(decide, d, d.ledger, n, d, leadership{d}, 50*time.Millisecond, slog.New(slog.DiscardHandler))
	return d
}

func node(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

type change func(*corev1.Pod)

func quota(n int) change {
	return func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = strconv.Itoa(n) }
}
func mode(m policy.Mode) change {
	return func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: string(m)} }
}
func on(node string) change { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// pod makes a Pod of one ReplicaSet and shows it to the ledger.
func (d *desk) pod(name string, changes ...change) *corev1.Pod {
	d.t.Helper()
	d.version++
	isController := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(d.version), Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", UID: "rs", Controller: &isController}},
	}}
	for _, apply := range changes {
		apply(pod)
	}
	require.NoError(d.t, d.pods.Update(pod))
	return pod
}

func (d *desk) filter(pod *corev1.Pod, names ...string) placement.Verdict {
	d.t.Helper()
	verdict, err := d.Filter(d.t.Context(), pod, names)
	require.NoError(d.t, err)
	return verdict
}

var (
	everywhere = []string{"local-0", "virtual-0", "local-1", "virtual-1"}
	home       = []string{"local-0", "local-1"}
	cloud      = []string{"virtual-0", "virtual-1"}
)

func TestFilterReturnsOneClass(t *testing.T) {
	cases := map[string]struct {
		global  policy.Switch
		changes []change
		names   []string
		want    []string
		reason  policy.Reason
	}{
		"without a key a Pod goes home first":             {policy.SwitchUnset, nil, everywhere, home, policy.ReasonSwitchOn},
		"without a key a Pod bursts where home is full":   {policy.SwitchUnset, nil, cloud, cloud, policy.ReasonSwitchOn},
		"with the switch off it does not burst":           {policy.SwitchOff, nil, everywhere, home, policy.ReasonLocalOnly},
		"with the switch off it waits where home is full": {policy.SwitchOff, nil, cloud, []string{}, policy.ReasonLocalOnly},
		"enforce goes to the cloud":                       {policy.SwitchUnset, []change{mode(policy.ModeEnforce)}, everywhere, cloud, policy.ReasonCloudOnly},
		"enforce does not go home":                        {policy.SwitchUnset, []change{mode(policy.ModeEnforce)}, home, []string{}, policy.ReasonCloudOnly},
		"off stays home":                                  {policy.SwitchOn, []change{mode(policy.ModeOff)}, everywhere, home, policy.ReasonLocalOnly},
		"localPrefer goes home first":                     {policy.SwitchOff, []change{mode(policy.ModeLocalPrefer)}, everywhere, home, policy.ReasonLabelLocalPrefer},
		"localPrefer bursts where home is full":           {policy.SwitchOff, []change{mode(policy.ModeLocalPrefer)}, cloud, cloud, policy.ReasonLabelLocalPrefer},
		"auto leaves both to the scores":                  {policy.SwitchUnset, []change{mode(policy.ModeAuto)}, everywhere, append(slices.Clone(home), cloud...), policy.ReasonLabelAuto},
		"a quota that is free goes home":                  {policy.SwitchOn, []change{quota(1)}, everywhere, home, policy.ReasonSwitchOn},
		"a quota of 0 goes to the cloud":                  {policy.SwitchOn, []change{quota(0)}, everywhere, cloud, policy.ReasonLocalQuota},
		"a quota that is free bursts where home is full":  {policy.SwitchOn, []change{quota(1)}, cloud, cloud, policy.ReasonSwitchOn},
		"a quota means nothing where the switch is off":   {policy.SwitchOff, []change{quota(0)}, everywhere, home, policy.ReasonLocalOnly},
		"a quota of 0 waits where the cloud has no room":  {policy.SwitchOn, []change{quota(0)}, home, []string{}, policy.ReasonLocalQuota},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.global = tc.global
			got := d.filter(d.pod("a", tc.changes...), tc.names...)
			assert.Equal(t, tc.want, got.Names)
			assert.Equal(t, tc.reason, got.Reason)
			assert.Equal(t, len(tc.want) == 0, got.Refusal != "", "a Pod waits with a reason, and only then: %q", got.Refusal)
		})
	}
}

func TestAQuotaOfOneOfFour(t *testing.T) {
	d := newDesk(t)
	homes := 0
	for i := range 4 {
		if slices.Equal(d.filter(d.pod(fmt.Sprint(i), quota(1)), everywhere...).Names, home) {
			homes++
		}
	}
	assert.Equal(t, 1, homes)
	assert.Equal(t, []string{"0"}, d.written, "the slot is written before it is answered, and only once")
}

func TestTheRefusalIsConstant(t *testing.T) {
	d := newDesk(t)
	d.pod("bound", quota(1), on("local-0"))
	first := d.filter(d.pod("a", quota(1)), home...)
	second := d.filter(d.pod("a", quota(1)), "local-1", "local-0")
	assert.Equal(t, first.Refusal, second.Refusal)
}

func TestASlotThatCannotBeWritten(t *testing.T) {
	t.Run("is not answered, and stays promised while the write may have landed", func(t *testing.T) {
		d := newDesk(t)
		a, b := d.pod("a", quota(1)), d.pod("b", quota(1))
		d.writeErr = errors.New("timed out")
		_, err := d.Filter(t.Context(), a, everywhere)
		require.ErrorContains(t, err, "timed out")
		d.writeErr = nil
		assert.Equal(t, cloud, d.filter(b, everywhere...).Names)
		assert.Equal(t, home, d.filter(a, everywhere...).Names)
		assert.Equal(t, []string{"a"}, d.written)
	})
	t.Run("is free again where the API server refused it", func(t *testing.T) {
		d := newDesk(t)
		a, b := d.pod("a", quota(1)), d.pod("b", quota(1))
		d.writeErr, d.definite = errors.New("forbidden"), true
		_, err := d.Filter(t.Context(), a, everywhere)
		require.Error(t, err)
		d.writeErr = nil
		assert.Equal(t, home, d.filter(b, everywhere...).Names)
	})
}

// TestAnAPIServerThatIsSlow holds up the Pods behind once, however many slots are being written.
func TestAnAPIServerThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.writeTakes = 2 * time.Second
		var pods []*corev1.Pod
		begun := time.Now()
		for i := range 10 {
			pods = append(pods, d.pod(fmt.Sprint(i), quota(10)))
			for range 2 { // Asked again, the Pod's slot is not written twice.
				_, err := d.Filter(t.Context(), pods[i], everywhere)
				require.ErrorContains(t, err, "the API server is slow")
			}
		}
		assert.Equal(t, 50*time.Millisecond, time.Since(begun), "one patience for all")
		assert.Equal(t, cloud, d.filter(d.pod("over", quota(10)), everywhere...).Names, "what is being written is given")

		time.Sleep(d.writeTakes)
		synctest.Wait()
		assert.Len(t, d.written, 10, "in the background, each once")
		d.writeTakes = 0
		for _, pod := range pods {
			pod.Annotations[policy.LocalSlotAnnotation] = string(pod.UID)
			assert.Equal(t, home, d.filter(pod, everywhere...).Names)
		}
		require.Len(t, d.written, 10)

		late := d.pod("late", quota(12))
		_, err := d.Filter(t.Context(), late, everywhere)
		require.ErrorContains(t, err, "the API server is slow", "that it is fast again shows with the next write")
		synctest.Wait()
		assert.Equal(t, home, d.filter(late, everywhere...).Names)
		assert.Equal(t, home, d.filter(d.pod("later", quota(12)), everywhere...).Names)
	})
}

// TestAmongSeveralExtenders: what is said must be known to whoever leads next.
func TestAmongSeveralExtenders(t *testing.T) {
	t.Run("local is said only in a term that was on after the slot was written", func(t *testing.T) {
		d := newDesk(t)
		assert.Equal(t, home, d.filter(d.pod("a", quota(1)), everywhere...).Names)
		assert.Equal(t, []int{1}, d.confirmed)
	})
	t.Run("also where the slot was written before", func(t *testing.T) {
		d := newDesk(t)
		pod := d.pod("a", quota(1), func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) })
		assert.Equal(t, home, d.filter(pod, everywhere...).Names)
		assert.Equal(t, []int{0}, d.confirmed)
	})
	t.Run("whose term is over says nothing", func(t *testing.T) {
		d := newDesk(t)
		d.deposed = leader.ErrNotLeading
		a := d.pod("a", quota(1))
		for range 2 {
			_, err := d.Filter(t.Context(), a, everywhere)
			require.ErrorIs(t, err, leader.ErrNotLeading)
		}
		_, err := d.Preempt(t.Context(), a, placement.Victims{"local-0": &extenderv1.MetaVictims{}})
		require.ErrorIs(t, err, leader.ErrNotLeading)
	})
	t.Run("who does not lead gives no slot", func(t *testing.T) {
		d := newDesk(t)
		d.notLeading = leader.ErrNotLeading
		require.ErrorIs(t, d.Placement.Ready(), leader.ErrNotLeading)
		_, err := d.Filter(t.Context(), d.pod("a", quota(1)), everywhere)
		require.ErrorIs(t, err, leader.ErrNotLeading)
		assert.Empty(t, d.written)
		d.notLeading = nil
		require.NoError(t, d.Placement.Ready())
		assert.Equal(t, home, d.filter(d.pod("b", quota(1)), everywhere...).Names)
	})
	t.Run("the cloud needs no word of the Lease", func(t *testing.T) {
		d := newDesk(t)
		assert.Equal(t, cloud, d.filter(d.pod("a", quota(0)), everywhere...).Names)
		assert.Empty(t, d.confirmed)
	})
}

func TestFilterWaitsForTheWatch(t *testing.T) {
	d := newDesk(t)
	ahead := d.pod("a", quota(1)).DeepCopy()
	ahead.ResourceVersion = "99"
	_, err := d.Filter(t.Context(), ahead, everywhere)
	require.ErrorContains(t, err, "waiting to see in the watch of Pods what the scheduler has seen")
}

func TestASlotIsDecidedAgainInANewTerm(t *testing.T) {
	t.Run("another extender has given it away", func(t *testing.T) {
		d := newDesk(t)
		d.begun = func() {
			d.pod("b", quota(1), func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) })
		}
		assert.Equal(t, cloud, d.filter(d.pod("a", quota(1)), everywhere...).Names)
		assert.Equal(t, []int{1}, d.confirmed)
	})
	t.Run("nobody has", func(t *testing.T) {
		d := newDesk(t)
		d.begun = func() {}
		assert.Equal(t, home, d.filter(d.pod("a", quota(1)), everywhere...).Names)
		assert.Len(t, d.confirmed, 2, "the new term is confirmed too")
	})
}

func TestUnknownNodesAreTheAskersFault(t *testing.T) {
	d := newDesk(t)
	_, err := d.Filter(t.Context(), d.pod("a"), []string{"local-0", "nowhere"})
	var unknown *nodes.UnknownNodeError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, "nowhere", unknown.Name)
}

func TestAPodRefusedByPolicyIsWokenWhenItChanges(t *testing.T) {
	d := newDesk(t)
	d.global = policy.SwitchOff
	assert.Empty(t, d.filter(d.pod("a", quota(0)), cloud...).Names)
	d.global = policy.SwitchOn
	d.ledger.WakeParked()
	assert.Equal(t, []string{"a"}, d.woken)
}

func TestTheCloudComesLast(t *testing.T) {
	priority := func(value int32) change { return func(p *corev1.Pod) { p.Spec.Priority = &value } }
	never := func(p *corev1.Pod) { policy := corev1.PreemptNever; p.Spec.PreemptionPolicy = &policy }
	group := func(p *corev1.Pod) {
		p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
	}
	refused := func(text string) change {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: text}}
		}
	}
	nominated := func(node string) change { return func(p *corev1.Pod) { p.Status.NominatedNodeName = node } }
	tried := refused("0/4 nodes are available: 1 Spillway PreemptFirst: no local node fits; Pods of lower priority at home are evicted before the Pod bursts.")

	cases := map[string]struct {
		changes []change
		want    []string
	}{
		"home is full of equals: it bursts at once":                        {[]change{priority(-10)}, cloud},
		"a buffer is at home: preemption comes first":                      {nil, []string{}},
		"with a quota below it too":                                        {[]change{quota(1)}, []string{}},
		"with localPrefer too":                                             {[]change{mode(policy.ModeLocalPrefer)}, []string{}},
		"with auto too":                                                    {[]change{mode(policy.ModeAuto)}, []string{}},
		"preemption was tried in vain: it bursts":                          {[]change{tried}, cloud},
		"it was refused for another reason before: preemption comes first": {[]change{refused("3 Insufficient cpu")}, []string{}},
		"preemption is under way: it waits":                                {[]change{tried, nominated("local-0")}, []string{}},
		"its scheduling group does not wait for that: it bursts":           {[]change{group}, cloud},
		"it may not preempt: it bursts":                                    {[]change{never}, cloud},
		"over its quota it bursts":                                         {[]change{quota(0)}, cloud},
		"enforce bursts":                                                   {[]change{mode(policy.ModeEnforce)}, cloud},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.pod("buffer", on("local-0"), priority(-10))
			got := d.filter(d.pod("a", tc.changes...), cloud...)
			assert.Equal(t, tc.want, got.Names)
		})
	}
	t.Run("where a local node fits it goes there", func(t *testing.T) {
		d := newDesk(t)
		d.pod("buffer", on("local-0"), priority(-10))
		assert.Equal(t, home, d.filter(d.pod("a"), everywhere...).Names)
	})
}

func TestPreemptKeepsNodesWhereThePodMayRun(t *testing.T) {
	cases := map[string]struct {
		changes []change
		names   []string
		want    []string
	}{
		"below its quota a Pod evicts at home":              {[]change{quota(1)}, home, home},
		"over its quota a Pod evicts nobody at home":        {[]change{quota(0)}, home, nil},
		"over its quota a Pod may evict in the cloud":       {[]change{quota(0)}, everywhere, cloud},
		"enforce evicts nobody at home":                     {[]change{mode(policy.ModeEnforce)}, everywhere, cloud},
		"off evicts nobody in the cloud":                    {[]change{mode(policy.ModeOff)}, everywhere, home},
		"localPrefer evicts at home first":                  {[]change{mode(policy.ModeLocalPrefer)}, everywhere, home},
		"localPrefer evicts in the cloud where it must":     {[]change{mode(policy.ModeLocalPrefer)}, cloud, cloud},
		"auto evicts where the scheduler finds it cheapest": {[]change{mode(policy.ModeAuto)}, everywhere, everywhere},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			victims := placement.Victims{}
			for _, n := range tc.names {
				victims[n] = &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: "victim"}}}
			}
			kept, err := d.Preempt(t.Context(), d.pod("a", tc.changes...), victims)
			require.NoError(t, err)
			assert.ElementsMatch(t, tc.want, slices.Collect(maps.Keys(kept)))
		})
	}
}

func TestPreemptKeepsTheSlotForWhomOthersAreEvicted(t *testing.T) {
	d := newDesk(t)
	victims := placement.Victims{"local-0": &extenderv1.MetaVictims{}}
	_, err := d.Preempt(t.Context(), d.pod("a", quota(1)), victims)
	require.NoError(t, err)
	assert.Equal(t, cloud, d.filter(d.pod("b", quota(1)), everywhere...).Names)
	assert.Equal(t, []string{"a"}, d.written)
}

func TestPrioritize(t *testing.T) {
	score := func(d *desk, names ...string) map[string]int64 {
		scores := map[string]int64{}
		list, err := d.Prioritize(d.t.Context(), d.pod("asked"), names)
		require.NoError(d.t, err)
		for _, s := range list {
			scores[s.Host] = s.Score
		}
		return scores
	}
	t.Run("local nodes are the scheduler's to rank", func(t *testing.T) {
		assert.Equal(t, map[string]int64{"local-0": 0, "local-1": 0}, score(newDesk(t), home...))
	})
	t.Run("local nodes lead before virtual ones", func(t *testing.T) {
		got := score(newDesk(t), "local-0", "virtual-0")
		assert.Equal(t, map[string]int64{"local-0": 10, "virtual-0": 3}, got)
	})
	t.Run("the emptiest virtual node leads", func(t *testing.T) {
		d := newDesk(t)
		d.pod("a", on("virtual-0"))
		d.pod("b", on("virtual-0"))
		d.pod("c", on("virtual-1"))
		assert.Equal(t, map[string]int64{"virtual-0": 0, "virtual-1": 5}, score(d, cloud...))
	})
}
