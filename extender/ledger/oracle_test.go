package ledger_test

import (
	"fmt"
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
	// reserved are the Pods that have a slot. Those in confirmed were reported to the scheduler.
	reserved, confirmed map[types.UID]bool
}

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
		isReserved := pod.Spec.NodeName == "" && o.reserved[pod.UID]
		if isLocal || isReserved {
			used++
		}
	}
	return used
}

func isActive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func (o *oracle) reserve(c *cluster, pod *corev1.Pod, quota int, local, cloud bool) ledger.Outcome {
	_, counted := pod.Annotations[policy.LocalReplicasAnnotation]
	if o.reserved[pod.UID] && !o.confirmed[pod.UID] && o.used(c, pod) > quota {
		o.reserved[pod.UID] = false
	}
	switch {
	case !isActive(pod) || !counted:
		return ledger.Gone
	case pod.Spec.NodeName != "" && c.virtual[pod.Spec.NodeName]:
		return ledger.Cloud
	case pod.Spec.NodeName != "":
		return ledger.Local
	case local && (o.reserved[pod.UID] || o.used(c, pod) < quota):
		o.reserved[pod.UID] = true
		return ledger.Local
	case cloud && (o.reserved[pod.UID] || o.used(c, pod) < quota):
		return ledger.Overflow
	case cloud:
		return ledger.Cloud
	}
	return ledger.Wait
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
	o := &oracle{reserved: map[types.UID]bool{}, confirmed: map[types.UID]bool{}}
	created := 0
	for step := range steps {
		name := pick(random, c)
		switch action := random.IntN(13); {
		case action == 0 || name == "":
			created++
			owner := types.UID(fmt.Sprintf("rs-%d", random.IntN(3)))
			c.pod(fmt.Sprintf("pod-%d", created), func(p *corev1.Pod) { p.OwnerReferences[0].UID = owner })
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
		default:
			delete(c.objects, name)
			c.relist()
		}
		requireNoLostRequeue(t, c, o, step)
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
	want := o.reserve(c, pod, 2, local, cloud)
	got, _ := c.Reserve(ledger.Request{UID: pod.UID, Quota: 2, LocalFits: local, CloudFits: cloud})
	require.Equalf(t, want, got, "step %d, pod %s, local fits %t, cloud fits %t", step, name, local, cloud)
	c.requeued = slices.DeleteFunc(c.requeued, func(r string) bool { return r == name })
	if got != ledger.Local || pod.Spec.NodeName != "" {
		return
	}
	if random.IntN(2) == 0 {
		c.pod(name, slotWritten)
	}
	if random.IntN(2) == 0 {
		c.Confirm(pod.UID)
		o.confirmed[pod.UID] = true
	}
}

// bind binds the Pod. A Pod with a slot goes to a local node in three of four cases, any other Pod to a virtual node.
func bind(c *cluster, o *oracle, name string, random *rand.Rand) {
	pod := c.objects[name]
	if pod.Spec.NodeName != "" || !isActive(pod) {
		return
	}
	node := "virtual-0"
	if o.reserved[pod.UID] && random.IntN(4) > 0 {
		node = "local-0"
	}
	c.pod(name, bound(node))
}

// requireNoLostRequeue requires that for each free slot a waiting Pod has been requeued.
func requireNoLostRequeue(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	if c.Stats().Waiting == 0 {
		return
	}
	before := len(c.requeued)
	c.Recount() // Requeues the Pods for which a slot is free and that have not been requeued yet.
	require.Lenf(t, c.requeued, before,
		"step %d: %v was not requeued when its slot became free", step, c.requeued[before:])
}
