package ledger_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

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
}

// slots are the Pods that have a slot. Those in confirmed were reported to the scheduler.
type slots struct{ reserved, confirmed map[types.UID]bool }

func newSlots() slots { return slots{reserved: map[types.UID]bool{}, confirmed: map[types.UID]bool{}} }

// unconfirmed reports whether a Pod has a slot that was not reported.
func (s slots) unconfirmed(uid types.UID) bool { return s.reserved[uid] && !s.confirmed[uid] }

func (o *oracle) used(c *cluster, of *corev1.Pod) int {
	used := 0
	for _, pod := range c.objects {
		if policy.RevisionOf(pod) != policy.RevisionOf(of) || !isActive(pod) {
			continue
		}
		if _, counted := pod.Annotations[policy.LocalReplicasAnnotation]; !counted {
			continue
		}
		isLocal := pod.Spec.NodeName != "" && !c.virtual[pod.Spec.NodeName]
		isReserved := pod.Spec.NodeName == "" && o.local.reserved[pod.UID]
		if isLocal || isReserved {
			used++
		}
	}
	return used
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

// reserve decides for a Pod. A quota below 0 means that it has none.
func (o *oracle) reserve(c *cluster, pod *corev1.Pod, quota int, local, cloud bool) ledger.Outcome {
	_, counted := pod.Annotations[policy.LocalReplicasAnnotation]
	if !isActive(pod) || quota >= 0 && !counted {
		return ledger.Gone
	}
	if quota >= 0 && o.local.unconfirmed(pod.UID) && o.used(c, pod) > quota {
		o.local.reserved[pod.UID] = false
	}
	if o.cloud.unconfirmed(pod.UID) && !c.limits.Allow(o.cloudUse(c, pod.Namespace)) {
		o.cloud.reserved[pod.UID] = false
	}
	below := quota >= 0 && (o.local.reserved[pod.UID] || o.used(c, pod) < quota)
	switch {
	case pod.Spec.NodeName != "" && c.virtual[pod.Spec.NodeName]:
		return ledger.Cloud
	case pod.Spec.NodeName != "":
		return ledger.Local
	case local && below:
		o.local.reserved[pod.UID] = true
		return ledger.Local
	case !cloud:
		return ledger.Wait
	case !o.cloud.reserved[pod.UID] && !c.limits.Allow(o.cloudUse(c, pod.Namespace).Plus(c.Use(pod))):
		return ledger.Limited
	}
	o.cloud.reserved[pod.UID] = true
	if c.limits.IsZero() {
		o.cloud.confirmed[pod.UID] = true
	}
	if below {
		return ledger.Overflow
	}
	return ledger.Cloud
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
	o := &oracle{local: newSlots(), cloud: newSlots()}
	created := 0
	for step := range steps {
		name := pick(random, c)
		switch action := random.IntN(14); {
		case action == 0 || name == "":
			created++
			owner := types.UID(fmt.Sprintf("rs-%d", random.IntN(3)))
			namespace := fmt.Sprintf("ns-%d", random.IntN(2))
			size := []string{"0.25_0.5", "0.50_1.0", "1.00_1.0"}[random.IntN(3)]
			c.pod(fmt.Sprintf("pod-%d", created), sized(size), func(p *corev1.Pod) {
				p.Namespace, p.OwnerReferences[0].UID = namespace, owner
			})
		case action <= 6:
			reserveBoth(t, c, o, name, random, step)
		case action == 7:
			bind(c, o, name, random)
		case action == 8:
			c.pod(name, terminating)
		case action == 9:
			c.delete(name)
		case action == 10:
			c.pod(name, phase(corev1.PodSucceeded))
		case action == 11:
			c.pod(name, []func(*corev1.Pod){released, adopted}[random.IntN(2)])
		case action == 12:
			c.limit([]string{"", "pods=0", "pods=2", "cpu=1", "pods=3,cpu=2,memory=2Gi"}[random.IntN(5)])
		default:
			delete(c.objects, name)
			c.relist()
		}
		requireSameAccounts(t, c, o, step)
		requireSameWorkloads(t, c, o, step)
		requireSameSlots(t, c, o, step)
		requireNoLostRequeue(t, c, o, step)
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
	first := map[policy.Revision]*corev1.Pod{}
	for _, pod := range c.objects {
		key := ledger.Workload{Namespace: pod.Namespace}
		if owner := pod.OwnerReferences[0]; *cmp.Or(owner.Controller, new(false)) {
			key.Kind, key.Name = owner.Kind, owner.Name
		}
		w := want[key]
		w.Workload, w.Cloud = key, w.Cloud.Plus(o.cloudUseOf(c, pod))
		want[key] = w
		revision := policy.RevisionOf(pod)
		of[revision], first[revision] = key, pod
		if isActive(pod) {
			replicas[revision]++
		}
	}
	for revision, key := range of { // All Pods have a quota of 1.
		w, used := want[key], o.used(c, first[revision])
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

func reserveBoth(t *testing.T, c *cluster, o *oracle, name string, random *rand.Rand, step int) {
	local := random.IntN(4) > 0
	cloud := !local || random.IntN(3) > 0 // The scheduler does not call the extender without nodes.
	pod := c.objects[name]
	request := ledger.Request{UID: pod.UID, LocalFits: local, CloudFits: cloud}
	quota := -1
	if random.IntN(3) > 0 {
		quota = 2
		request.Quota = &quota
	}
	want := o.reserve(c, pod, quota, local, cloud)
	requireForeseen(t, c, pod, request, want, step)
	got, slot := c.Reserve(request)
	require.Equalf(t, want, got, "step %d, pod %s, quota %d, local fits %t, cloud fits %t, limits %s", step, name,
		quota,
		local, cloud, c.limits)
	c.requeued = slices.DeleteFunc(c.requeued, func(r string) bool { return r == name })
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
func requireNoLostRequeue(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	before := len(c.requeued)
	c.Recount() // Requeues the Pods for which a slot is free and that have not been requeued yet.
	require.Lenf(t, c.requeued, before,
		"step %d: %v was not requeued when its slot became free", step, c.requeued[before:])
}
