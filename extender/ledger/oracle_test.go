package ledger_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// oracle is the simplest implementation of Reserve: it goes through all Pods each time.
type oracle struct {
	// local and cloud are the Pods that have a slot of each kind.
	local, cloud slots
	// claims are the Pods that wait for room on local nodes.
	claims map[types.UID]*claimed
	turn   int
	// asked is what the Pods were refused for that were not requeued since.
	asked map[types.UID]asked
	// requeued are the Pods that were requeued and not asked for since.
	requeued map[types.UID]bool
}

// claimed is what a Pod claims that waits for room on local nodes.
type claimed struct {
	revision policy.Revision
	shares   policy.Shares
	floor    bool
	until    time.Time // zero for floor
	turn     int
	// void says that others have what the Pod claims, and due that its deadline has come.
	void, due bool
}

func newOracle() *oracle {
	return &oracle{local: newSlots(), cloud: newSlots(), claims: map[types.UID]*claimed{}, asked: map[types.UID]asked{},
		requeued: map[types.UID]bool{}}
}

// slots are the Pods that have a slot. Those in confirmed were reported to the scheduler.
//
// A slot that was revoked is not read from its Pod again.
type slots struct{ reserved, confirmed, revoked map[types.UID]bool }

func newSlots() slots {
	return slots{map[types.UID]bool{}, map[types.UID]bool{}, map[types.UID]bool{}}
}

// unconfirmed reports whether a Pod has a slot that was not reported.
func (s slots) unconfirmed(uid types.UID) bool { return s.reserved[uid] && !s.confirmed[uid] }

// count returns how many active Pods of a revision there are of which something is true.
func count(c *cluster, of policy.Revision, is func(*corev1.Pod) bool) int {
	n := 0
	for _, pod := range c.objects {
		if policy.RevisionOf(pod) == of && isActive(pod) && is(pod) {
			n++
		}
	}
	return n
}

func all(*corev1.Pod) bool { return true }

func (o *oracle) used(c *cluster, of policy.Revision) int {
	return count(c, of, func(pod *corev1.Pod) bool { return o.holds(c, pod) })
}

// holds reports whether an active Pod has a local slot.
func (o *oracle) holds(c *cluster, pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" {
		return !c.virtual[pod.Spec.NodeName]
	}
	return o.local.reserved[pod.UID]
}

// inCloud returns how many Pods count towards the cloud share.
func (o *oracle) inCloud(c *cluster, of policy.Revision) int {
	return count(c, of, func(pod *corev1.Pod) bool {
		return c.virtual[pod.Spec.NodeName] || pod.Spec.NodeName == "" && o.cloud.reserved[pod.UID]
	})
}

// rank returns how many other Pods of a revision have a place on local nodes or claim one, those of the floor or all.
func (o *oracle) rank(c *cluster, of *corev1.Pod, floor bool) int {
	return count(c, policy.RevisionOf(of), func(pod *corev1.Pod) bool {
		claim := o.claims[pod.UID]
		claims := claim != nil && !claim.void && (claim.floor || !floor)
		return pod.UID != of.UID && (o.holds(c, pod) || claims)
	})
}

// settle forgets the claims of Pods that do not wait any more, makes those void that claim what others have, and
// returns the names of their Pods.
func (o *oracle) settle(c *cluster) (requeued []string) {
	pods := map[types.UID]*corev1.Pod{}
	for _, pod := range c.objects {
		pods[pod.UID] = pod
	}
	for uid, claim := range o.claims {
		pod := pods[uid]
		if pod == nil || !isActive(pod) || pod.Spec.NodeName != "" || policy.RevisionOf(pod) != claim.revision {
			delete(o.claims, uid)
		}
	}
	for _, kind := range []struct{ floor, held bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
		for {
			var first types.UID
			for uid, claim := range o.claims {
				pod, n := pods[uid], count(c, claim.revision, all)
				most := claim.shares.LocalCap(n)
				if claim.floor {
					most = claim.shares.LocalFloor(n)
				}
				void := claim.floor == kind.floor && o.holds(c, pod) == kind.held && !claim.void &&
					o.rank(c, pod, claim.floor) >= most
				if void && (first == "" || claim.turn < o.claims[first].turn) {
					first = uid
				}
			}
			if first == "" {
				break
			}
			o.claims[first].void = true
			if !o.claims[first].due {
				requeued = append(requeued, pods[first].Name)
			}
		}
	}
	return requeued
}

// due returns the names of the Pods whose deadlines have come.
func (o *oracle) due(c *cluster, now time.Time) (requeued []string) {
	for _, pod := range c.objects {
		claim := o.claims[pod.UID]
		if claim != nil && !claim.floor && !claim.until.IsZero() && !now.Before(claim.until) {
			claim.until, claim.due = time.Time{}, true
			if !claim.void {
				requeued = append(requeued, pod.Name)
			}
		}
	}
	return requeued
}

// cloudUse returns what the Pods of a namespace use in the cloud.
func (o *oracle) cloudUse(c *cluster, namespace string) policy.CloudUse {
	var used policy.CloudUse
	for _, pod := range c.objects {
		if pod.Namespace == namespace {
			used = used.Plus(o.cloudUseOf(c, pod))
		}
	}
	return used
}

// cloudUseOf returns what one Pod uses in the cloud.
func (o *oracle) cloudUseOf(c *cluster, pod *corev1.Pod) policy.CloudUse {
	isCloud := c.virtual[pod.Spec.NodeName] && !hasEnded(pod)
	isReserved := pod.Spec.NodeName == "" && isActive(pod) && o.cloud.reserved[pod.UID]
	if isCloud || isReserved {
		return c.Use(pod)
	}
	return policy.CloudUse{}
}

func isActive(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && !hasEnded(pod) }

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// reserve decides for a Pod.
func (o *oracle) reserve(c *cluster, pod *corev1.Pod, r ledger.Request) ledger.Outcome {
	if !isActive(pod) {
		return ledger.Gone
	}
	revision := policy.RevisionOf(pod)
	before := o.claims[pod.UID]
	delete(o.claims, pod.UID)
	n := count(c, revision, all)
	if pod.Spec.NodeName == "" {
		o.revoke(c, pod, r.Shares, n)
	}
	shared := !r.Shares.IsZero()
	within := shared && (o.local.reserved[pod.UID] || o.used(c, revision) < r.Shares.LocalCap(n))
	floor := o.rank(c, pod, true) < r.Shares.LocalFloor(n)
	wait := !r.WaitUntil.IsZero() && o.rank(c, pod, false) < r.Shares.LocalCap(n)
	switch {
	case c.virtual[pod.Spec.NodeName]:
		return ledger.Cloud
	case pod.Spec.NodeName != "":
		return ledger.Local
	case r.LocalFits && within:
		o.local.reserved[pod.UID], o.local.revoked[pod.UID] = true, false
		return ledger.Local
	case within && (floor || wait):
		claim := &claimed{revision: revision, shares: r.Shares, floor: floor}
		if o.turn++; before != nil {
			claim.turn = before.turn
		} else {
			claim.turn = o.turn
		}
		o.claims[pod.UID] = claim
		if floor {
			return ledger.LocalMinimum
		}
		claim.until = r.WaitUntil
		return ledger.BurstAfter
	case !r.CloudFits && within:
		return ledger.Nowhere
	case !r.CloudFits:
		return ledger.Wait
	case !o.cloud.reserved[pod.UID] && o.inCloud(c, revision) >= r.Shares.CloudCap(n):
		return ledger.CloudMaximum
	case !o.cloud.reserved[pod.UID] && !c.limits.Allow(o.cloudUse(c, pod.Namespace).Plus(c.Use(pod))):
		return ledger.Limited
	case r.PreemptFirst && (within || !shared):
		return ledger.Preempt
	}
	o.cloud.reserved[pod.UID] = true
	if c.limits.IsZero() && !r.Shares.CloudMax.Set {
		o.cloud.confirmed[pod.UID] = true
	}
	if within {
		return ledger.Overflow
	}
	return ledger.Cloud
}

// revoke takes slots from a Pod that were not reported and are beyond what is allowed.
func (o *oracle) revoke(c *cluster, pod *corev1.Pod, shares policy.Shares, n int) {
	revision := policy.RevisionOf(pod)
	if o.local.unconfirmed(pod.UID) && o.used(c, revision) > shares.LocalCap(n) {
		o.local.reserved[pod.UID], o.local.revoked[pod.UID] = false, true
	}
	if o.cloud.unconfirmed(pod.UID) && (!c.limits.Allow(o.cloudUse(c, pod.Namespace)) ||
		o.inCloud(c, revision) > shares.CloudCap(n)) {
		o.cloud.reserved[pod.UID] = false
	}
}

// TestLedgerAgreesWithTheOracle runs random histories on both. The seed reproduces a history.
func TestLedgerAgreesWithTheOracle(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { playHistory(t, rand.New(rand.NewPCG(seed, 1)), 250) })
	}
}

func FuzzLedgerAgreesWithTheOracle(f *testing.F) {
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		playHistory(t, rand.New(rand.NewPCG(seed, 2)), int(steps))
	})
}

func playHistory(t *testing.T, random *rand.Rand, steps int) {
	c := newCluster(t)
	o := newOracle()
	now := time.Unix(0, 0)
	created, revisions := 0, 1+random.IntN(3)
	shares := func() policy.Shares { return someShares(random) }
	if random.IntN(2) == 0 { // All Pods of a workload usually have the same.
		same := someShares(random)
		shares = func() policy.Shares { return same }
	}
	for step := range steps {
		name := pick(random, c)
		var due []string
		switch action := random.IntN(21); {
		case action <= 3 && len(c.objects) < 20 || name == "":
			created++
			owner := types.UID(fmt.Sprintf("rs-%d", random.IntN(revisions)))
			namespace := fmt.Sprintf("ns-%d", random.IntN(2))
			size := []string{"0.25_0.5", "0.50_1.0", "1.00_1.0"}[random.IntN(3)]
			c.pod(fmt.Sprintf("pod-%d", created), sized(size), func(p *corev1.Pod) {
				p.Namespace, p.OwnerReferences[0].UID = namespace, owner
			})
		case action <= 11:
			reserveBoth(t, c, o, name, shares(), random, step, now)
		case action == 12:
			bind(c, o, name, random)
		case action == 13:
			c.pod(name, terminating)
		case action == 14:
			c.delete(name)
		case action == 15:
			c.pod(name, phase(corev1.PodSucceeded))
		case action == 16:
			c.pod(name, []func(*corev1.Pod){released, adopted}[random.IntN(2)])
		case action == 17:
			c.limit([]string{"", "pods=0", "pods=2", "cpu=1", "pods=3,cpu=2,memory=2Gi"}[random.IntN(5)])
		case action == 18:
			now = now.Add(time.Duration(random.IntN(30)) * time.Second)
			due = o.due(c, now)
			c.RequeueDue(now)
		case action == 19:
			pod := c.pod(name, slotWritten) // By another leader, too late or in an earlier term.
			if !o.local.revoked[pod.UID] {
				o.local.reserved[pod.UID] = true
			}
		default:
			delete(c.objects, name)
			c.relist()
		}
		requireRequeued(t, c, o, due, step)
		requireSameAccounts(t, c, o, step)
		requireSameWorkloads(t, c, o, step)
		requireSameSlots(t, c, o, step)
		requireNoLostRequeue(t, c, step)
	}
}

func requireSameAccounts(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	for _, account := range c.Stats().Accounts {
		require.Equalf(t, o.cloudUse(c, account.Namespace), account.Used, "step %d, namespace %s", step,
			account.Namespace)
	}
}

// requireSameWorkloads requires that the sums of each workload are those of its Pods.
func requireSameWorkloads(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	want := map[ledger.Workload]ledger.WorkloadStats{}
	replicas := map[policy.Revision]int{}
	of := map[policy.Revision]ledger.Workload{}
	for _, pod := range c.objects {
		key := ledger.Workload{Namespace: pod.Namespace}
		if owner := pod.OwnerReferences[0]; *cmp.Or(owner.Controller, new(false)) {
			key.Kind, key.Name = owner.Kind, owner.Name
		}
		w := want[key]
		w.Workload, w.Cloud = key, w.Cloud.Plus(o.cloudUseOf(c, pod))
		want[key] = w
		revision := policy.RevisionOf(pod)
		of[revision] = key
		if isActive(pod) {
			replicas[revision]++
		}
	}
	for revision, key := range of { // All Pods have a quota of 1.
		w, used := want[key], o.used(c, revision)
		wanted := min(1, replicas[revision])
		w.Local.Wanted += wanted
		w.Local.Used += used
		w.Local.Missing += max(0, wanted-used)
		w.Local.Quota = true
		want[key] = w
	}
	require.ElementsMatchf(t, slices.Collect(maps.Values(want)), c.Stats().Workloads, "step %d", step)
}

// requireSameSlots requires that the ledger knows the holders of each revision, and how many Pods are elsewhere.
func requireSameSlots(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	want := map[policy.Revision]ledger.LocalSlots{}
	for _, name := range slices.Sorted(maps.Keys(c.objects)) {
		pod := c.objects[name]
		slots := want[policy.RevisionOf(pod)]
		if isActive(pod) && pod.Spec.NodeName == "" && o.cloud.reserved[pod.UID] {
			slots.Bursting++
		}
		switch {
		case !isActive(pod):
			continue
		case c.virtual[pod.Spec.NodeName]:
			slots.InCloud++
		case pod.Spec.NodeName != "" || o.local.reserved[pod.UID]:
			slots.Used++
			slots.Holders = append(slots.Holders, ledger.Holder{Name: name, Node: pod.Spec.NodeName})
		default:
			slots.Waiting++
		}
		want[policy.RevisionOf(pod)] = slots
	}
	for name, pod := range c.objects {
		slots := want[policy.RevisionOf(pod)]
		slots.Held = slices.ContainsFunc(slots.Holders, func(h ledger.Holder) bool { return h.Name == name })
		require.Equalf(t, slots, c.Look(pod, len(c.objects)).Local, "step %d, pod %s", step, name)
	}
}

// pick returns a random Pod. The result does not depend on the order of the map.
func pick(random *rand.Rand, c *cluster) string {
	if len(c.objects) == 0 {
		return ""
	}
	names := make([]string, 0, len(c.objects))
	for name := range c.objects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[random.IntN(len(names))]
}

// someShares are shares with numbers and percentages, which change from request to request as users edit them.
func someShares(random *rand.Rand) policy.Shares {
	amount := func(most int) policy.Amount {
		switch random.IntN(4) {
		case 0:
			return policy.Amount{Set: true, Value: random.IntN(most + 1)}
		case 1:
			return policy.Amount{Set: true, Value: random.IntN(5) * 25, Percent: true}
		}
		return policy.Amount{}
	}
	switch random.IntN(4) {
	case 0:
		return policy.Shares{}
	case 1:
		return replicas(2)
	}
	return policy.Shares{LocalReplicas: amount(3), LocalMin: amount(2), LocalMax: amount(4), CloudMax: amount(3)}
}

func reserveBoth(
	t *testing.T, c *cluster, o *oracle, name string, shares policy.Shares, random *rand.Rand, step int, now time.Time,
) {
	t.Helper()
	local := random.IntN(4) > 0
	cloud := !local || random.IntN(3) > 0 // The scheduler does not call the extender without nodes.
	pod := c.objects[name]
	request := ledger.Request{
		UID: pod.UID, Shares: shares, LocalFits: local, CloudFits: cloud,
		PreemptFirst: !local && random.IntN(3) == 0,
	}
	if random.IntN(2) == 0 {
		request.WaitUntil = now.Add(time.Duration(1+random.IntN(60)) * time.Second)
	}
	want := o.reserve(c, pod, request)
	of := policy.RevisionOf(pod)
	within := o.local.reserved[pod.UID] || o.used(c, of) < shares.LocalCap(count(c, of, all))
	requireForeseen(t, c, pod, request, want, step)
	got, slot := c.Reserve(request)
	require.Equalf(t, want, got, "step %d, pod %s, request %+v, limits %s", step, name, request, c.limits)
	o.asked[pod.UID] = asked{request, want, policy.RevisionOf(pod), within}
	delete(o.requeued, pod.UID)
	requireRequeued(t, c, o, nil, step)
	if slot.Kind == "" {
		return
	}
	written, confirmed := slotWritten, o.local.confirmed
	if slot.Kind == ledger.CloudSlot {
		written, confirmed = cloudSlot(slot.Use.String()), o.cloud.confirmed
	}
	if random.IntN(2) == 0 {
		c.pod(name, written)
	}
	confirmed[pod.UID] = confirmed[pod.UID] && !slot.Fresh
	if random.IntN(2) == 0 {
		c.Confirm(pod.UID, slot.Kind)
		confirmed[pod.UID] = true
	}
}

// asked is what the ledger was last asked for a Pod, and what it said.
type asked struct {
	ledger.Request
	outcome  ledger.Outcome
	revision policy.Revision
	within   bool // a local slot was free for the Pod
}

// requireRequeued requires that the Pods were requeued whose claims have become void, or that are due, and that every
// other Pod that was requeued may be scheduled now. No Pod is requeued twice before it is asked for again.
func requireRequeued(t *testing.T, c *cluster, o *oracle, due []string, step int) {
	t.Helper()
	waited := maps.Clone(o.claims)
	want := append(due, o.settle(c)...)
	var got []string
	for _, name := range c.requeued {
		pod := c.objects[name]
		require.NotNilf(t, pod, "step %d: %s is gone", step, name)
		last := o.asked[pod.UID]
		require.Falsef(t, o.requeued[pod.UID] && !slices.Contains(due, name), "step %d: %s twice", step, name)
		o.requeued[pod.UID] = true
		if waited[pod.UID] != nil {
			got = append(got, name)
			continue
		}
		n, of := count(c, policy.RevisionOf(pod), all), policy.RevisionOf(pod)
		slot := last.Shares.LocalCap(n) > o.used(c, of) && !last.Shares.IsZero()
		share := last.outcome == ledger.CloudMaximum && last.Shares.CloudCap(n) > o.inCloud(c, of)
		room := last.outcome == ledger.Limited && (o.cloud.reserved[pod.UID] ||
			c.limits.Allow(o.cloudUse(c, pod.Namespace).Plus(c.Use(pod))))
		require.Truef(t, last.outcome.Waits() && (slot || share || room),
			"step %d: %s was requeued without success: %+v, of %d replicas", step, name, last, n)
	}
	require.ElementsMatchf(t, want, got, "step %d: claims", step)
	c.requeued = nil
	o.requireNoneLost(t, c, step)
}

// requireNoneLost requires that no Pod waits for what is free, apart from what the Pods take that were requeued.
func (o *oracle) requireNoneLost(t *testing.T, c *cluster, step int) {
	t.Helper()
	for _, pod := range c.objects {
		last, of := o.asked[pod.UID], policy.RevisionOf(pod)
		waits := isActive(pod) && pod.Spec.NodeName == "" && of == last.revision && !last.Shares.IsZero()
		if !waits || !last.outcome.Waits() || o.claims[pod.UID] != nil || o.requeued[pod.UID] {
			continue
		}
		n := count(c, of, all)
		coming := count(c, of, func(p *corev1.Pod) bool { return o.requeued[p.UID] && p.Spec.NodeName == "" })
		if last.outcome == ledger.CloudMaximum {
			require.GreaterOrEqualf(t, o.inCloud(c, of)+coming, last.Shares.CloudCap(n), "step %d, pod %s: %+v", step,
				pod.Name, last)
		}
		if over := !last.within; over {
			require.GreaterOrEqualf(t, o.used(c, of)+coming, last.Shares.LocalCap(n), "step %d, pod %s: %+v", step,
				pod.Name, last)
		}
	}
}

// requireForeseen requires that Look tells what Reserve will return, and changes nothing.
func requireForeseen(
	t *testing.T, c *cluster, pod *corev1.Pod, request ledger.Request, want ledger.Outcome, step int,
) {
	t.Helper()
	if step%10 > 0 { // A snapshot takes long.
		require.Equalf(t, want, c.Look(pod, 1).Outcome(request), "step %d, pod %s", step, pod.Name)
		return
	}
	before, requeued := c.Snapshot(), len(c.requeued)
	require.Equalf(t, want, c.Look(pod, 1).Outcome(request), "step %d, pod %s", step, pod.Name)
	require.Equalf(t, before, c.Snapshot(), "step %d: Look changes nothing", step)
	require.Lenf(t, c.requeued, requeued, "step %d: Look requeues nothing", step)
}

// bind binds the Pod. A Pod with a slot goes to a local node in three of four cases, any other Pod to a virtual node.
func bind(c *cluster, o *oracle, name string, random *rand.Rand) {
	pod := c.objects[name]
	if pod.Spec.NodeName != "" || !isActive(pod) {
		return
	}
	node := "virtual-0"
	if o.local.reserved[pod.UID] && random.IntN(4) > 0 {
		node = "local-0"
	}
	c.pod(name, bound(node))
}

// requireNoLostRequeue requires that for each free slot a waiting Pod has been requeued.
func requireNoLostRequeue(t *testing.T, c *cluster, step int) {
	t.Helper()
	c.Recount() // Requeues the Pods for which a slot is free and that have not been requeued yet.
	require.Emptyf(t, c.requeued, "step %d: a Pod was not requeued when its slot became free", step)
}
