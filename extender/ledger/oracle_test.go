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

// oracle answers by going through all Pods each time, as anyone would write it down first.
type oracle struct {
	// promised Pods have a slot, and of the told ones the scheduler knows.
	promised, told map[types.UID]bool
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
		isPromised := pod.Spec.NodeName == "" && o.promised[pod.UID]
		if isLocal || isPromised {
			used++
		}
	}
	return used
}

func isActive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func (o *oracle) ask(c *cluster, pod *corev1.Pod, quota int, local, cloud bool) ledger.Answer {
	_, counted := pod.Annotations[policy.LocalReplicasAnnotation]
	if o.promised[pod.UID] && !o.told[pod.UID] && o.used(c, pod) > quota {
		o.promised[pod.UID] = false
	}
	switch {
	case !isActive(pod) || !counted:
		return ledger.Gone
	case pod.Spec.NodeName != "" && c.virtual[pod.Spec.NodeName]:
		return ledger.Cloud
	case pod.Spec.NodeName != "":
		return ledger.Local
	case local && (o.promised[pod.UID] || o.used(c, pod) < quota):
		o.promised[pod.UID] = true
		return ledger.Local
	case cloud && (o.promised[pod.UID] || o.used(c, pod) < quota):
		return ledger.Overflow
	case cloud:
		return ledger.Cloud
	}
	return ledger.Wait
}

// TestLedgerAgreesWithTheOracle plays random histories to both. A failing one is played again by its seed.
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
	o := &oracle{promised: map[types.UID]bool{}, told: map[types.UID]bool{}}
	born := 0
	for step := range steps {
		name := pick(random, c)
		switch action := random.IntN(13); {
		case action == 0 || name == "":
			born++
			owner := types.UID(fmt.Sprintf("rs-%d", random.IntN(3)))
			c.pod(fmt.Sprintf("pod-%d", born), func(p *corev1.Pod) { p.OwnerReferences[0].UID = owner })
		case action <= 6:
			askBoth(t, c, o, name, random, step)
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
		requireNoLostWake(t, c, o, step)
	}
}

// pick chooses a Pod that is, in an order that does not depend on the map.
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

func askBoth(t *testing.T, c *cluster, o *oracle, name string, random *rand.Rand, step int) {
	local := random.IntN(4) > 0
	cloud := !local || random.IntN(3) > 0 // The scheduler does not ask where no node is left.
	pod := c.objects[name]
	want := o.ask(c, pod, 2, local, cloud)
	got, _ := c.Ask(ledger.Request{UID: pod.UID, Quota: 2, LocalFits: local, CloudFits: cloud})
	require.Equalf(t, want, got, "step %d, pod %s, local fits %t, cloud fits %t", step, name, local, cloud)
	c.woken = slices.DeleteFunc(c.woken, func(w string) bool { return w == name })
	if got != ledger.Local || pod.Spec.NodeName != "" {
		return
	}
	if random.IntN(2) == 0 {
		c.pod(name, slotWritten)
	}
	if random.IntN(2) == 0 {
		c.Tell(pod.UID)
		o.told[pod.UID] = true
	}
}

// bind lets the Pod appear on a node: home where it was promised a slot, but for now and then, else in the cloud.
func bind(c *cluster, o *oracle, name string, random *rand.Rand) {
	pod := c.objects[name]
	if pod.Spec.NodeName != "" || !isActive(pod) {
		return
	}
	node := "virtual-0"
	if o.promised[pod.UID] && random.IntN(4) > 0 {
		node = "local-0"
	}
	c.pod(name, bound(node))
}

// requireNoLostWake holds that whoever waits while there is a free slot has been woken, or another was for that slot.
func requireNoLostWake(t *testing.T, c *cluster, o *oracle, step int) {
	t.Helper()
	if c.Stats().Waiting == 0 {
		return
	}
	before := len(c.woken)
	c.Recount() // Wakes who can be let through and was not woken yet.
	require.Lenf(t, c.woken, before, "step %d: %v was not woken when its slot became free", step, c.woken[before:])
}
