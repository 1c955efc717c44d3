package soldout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// step is the time between two checks in a history.
const step = timeout / 12

// history is a random history of the Pods of two tenants, of what the cloud has room for, and of time. After each
// check it compares what the Controller did with what is right in this moment.
type history struct {
	*harness
	random *rand.Rand
	// sold holds the sizes for which the cloud has room now. The sizes of the attacker are never among them.
	sold map[string]bool
	// pods are the Pods in the cloud. stuck ones never find room, such as those whose claim does not exist.
	pods  map[identity.Key]*corev1.Pod
	stuck map[identity.Key]bool
	since map[identity.Key]time.Time
	// roomAt is when a Pod of a size last found room. The empty size is any size, with the probe.
	roomAt map[string]time.Time
	// fullSince is since when the cloud has had no room for the probe and found none for Pods.
	fullSince time.Time
	lockedAt  time.Time
	evicted   int
	next      int
}

func newHistory(t *testing.T, seed uint64, changes ...func(*Config)) *history {
	h := newHarness(t, changes...)
	return &history{
		harness: h, random: rand.New(rand.NewPCG(seed, 0)),
		sold:  map[string]bool{smallest: true, common: true, large: true},
		pods:  map[identity.Key]*corev1.Pod{},
		stuck: map[identity.Key]bool{}, since: map[identity.Key]time.Time{}, roomAt: map[string]time.Time{},
	}
}

// create creates a Pod. The attacker chooses any size, names as many controllers as they like, and can let a Pod wait
// for something else than capacity.
func (h *history) create(namespace string) {
	h.next++
	size := []string{smallest, common, large}[h.random.IntN(3)]
	changes := []func(*corev1.Pod){of(namespace)}
	stuck := false
	if namespace == "attacker" {
		if h.random.IntN(2) == 0 {
			size = fmt.Sprintf("%d.00_512.0", 100+h.random.IntN(20))
		}
		stuck = h.random.IntN(2) == 0
	}
	if h.random.IntN(4) == 0 {
		changes = append(changes, bare)
	}
	reason := []string{"", "", "Unschedulable", "FlavorSoldOut"}[h.random.IntN(4)]
	if h.sold[size] && !stuck {
		reason = ""
	}
	pod := h.wait(fmt.Sprintf("pod-%d", h.next), reason, append(changes, sized(size))...)
	key := identity.KeyOf(pod)
	h.pods[key], h.stuck[key], h.since[key] = pod, stuck, h.clock
}

func (h *history) remove(key identity.Key) {
	require.NoError(h.t, h.harness.pods.Delete(h.pods[key]))
	delete(h.cloud.pods, key)
	delete(h.pods, key)
	delete(h.since, key)
	delete(h.stuck, key)
}

// keys returns the Pods in order.
func (h *history) keys() []identity.Key {
	return slices.SortedFunc(maps.Keys(h.pods), func(a, b identity.Key) int {
		return strings.Compare(a.String(), b.String())
	})
}

// waits reports whether a Pod has no address.
func (h *history) waits(key identity.Key) bool { return h.cloud.pods[key].Status.PodIP == "" }

// advance lets time pass and the cloud place Pods, then checks.
func (h *history) advance() {
	h.pass(step)
	for _, key := range h.keys() {
		size := h.pods[key].Annotations[policy.FlavorAnnotation]
		if h.waits(key) && h.sold[size] && !h.stuck[key] {
			h.place(h.pods[key])
			h.roomAt[size], h.roomAt[""] = h.clock, h.clock
			h.fullSince = time.Time{}
		}
	}
	h.cloud.soldOut = !h.sold[smallest]
	switch {
	case h.sold[smallest]:
		h.fullSince = time.Time{}
	case h.fullSince.IsZero():
		h.fullSince = h.clock
	}
	before, evictions := testutil.ToFloat64(h.metrics.locks), len(h.evictions)
	h.reconciles()
	node := h.node()
	if testutil.ToFloat64(h.metrics.locks) > before {
		h.lockedAt = h.clock
	}
	if _, locked := node.Annotations[policy.SoldOutUntilAnnotation]; locked {
		assert.LessOrEqual(h.t, h.clock.Sub(h.lockedAt), lockTime, "no lock is longer than the longest")
	}
	for _, eviction := range h.evictions[evictions:] {
		h.checkEviction(eviction.Namespace, eviction.Name, node.Spec.Unschedulable)
	}
}

// checkEviction checks that an evicted Pod had an owner and had waited, on a node that takes no Pods, while no Pod of
// its size found room. It then removes the Pod.
func (h *history) checkEviction(namespace, name string, unschedulable bool) {
	assert.True(h.t, unschedulable)
	for key, pod := range h.pods {
		if key.Namespace != namespace || key.Name != name {
			continue
		}
		h.evicted++
		assert.True(h.t, hasOwner(pod), "%s has an owner", name)
		assert.True(h.t, h.waits(key), "%s waits", name)
		size := pod.Annotations[policy.FlavorAnnotation]
		if h.cloud.pods[key].Status.Reason != "FlavorSoldOut" {
			assert.GreaterOrEqual(h.t, h.clock.Sub(latest(h.since[key], h.roomAt[size])), timeout, "%s of size %s", name, size)
		}
		h.remove(key)
		return
	}
}

// isLocked reports whether the last check has locked the node.
func (h *history) isLocked() bool { return h.lockedAt.Equal(h.clock) }

// Whatever one tenant does, the node stays open while the cloud has room.
func TestOneTenantNeverLocksTheNodeInAnyHistory(t *testing.T) {
	for name, change := range map[string]func(*Config){"with a probe": func(*Config) {}, "without a probe": withoutProbe} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				h := newHistory(t, seed, change)
				for range 200 {
					switch h.random.IntN(4) {
					case 0, 1:
						h.create("attacker")
					case 2:
						if keys := h.keys(); len(keys) > 0 {
							h.remove(keys[h.random.IntN(len(keys))])
						}
					}
					h.advance()
					require.False(t, h.isLocked(), "seed %d", seed)
				}
				require.LessOrEqual(t, h.cloud.created, 200/12/probePause+1, "seed %d: the probes are few", seed)
				require.Zero(t, h.evicted)
			}
		})
	}
}

// With two tenants and a cloud that is sold out from time to time, the node is locked if and only if the cloud has no
// room.
func TestTheNodeIsLockedWhileTheCloudIsSoldOutInAnyHistory(t *testing.T) {
	locks, evicted := 0, 0
	for seed := range uint64(12) {
		h := newHistory(t, seed)
		for range 250 {
			switch h.random.IntN(8) {
			case 0:
				h.create("attacker")
			case 1, 2:
				if !h.node().Spec.Unschedulable {
					h.create("victim")
				}
			case 3:
				if keys := h.keys(); len(keys) > 0 {
					h.remove(keys[h.random.IntN(len(keys))])
				}
			case 4:
				if h.random.IntN(6) == 0 {
					all := h.random.IntN(2) == 0
					h.sold[smallest], h.sold[common], h.sold[large] = all, all, all && h.random.IntN(2) == 0
				}
			}
			h.advance()
			if h.isLocked() {
				locks++
				require.False(t, h.sold[smallest], "seed %d: the smallest size is sold out", seed)
				require.GreaterOrEqual(t, h.clock.Sub(h.roomAt[""]), step, "seed %d: no Pod has just found room", seed)
			}
			h.checkOpen(seed)
		}
		evicted += h.evicted
		for key := range h.pods {
			h.remove(key)
		}
		h.advance()
		h.advance()
		require.Nil(t, h.cloud.probe, "seed %d: no probe is left", seed)
	}
	assert.Greater(t, locks, 8, "the histories have locks")
	assert.Greater(t, evicted, 4, "the histories have evictions")
}

// checkOpen checks that an open node is not open for long while the cloud has no room and Pods with owners wait.
func (h *history) checkOpen(seed uint64) {
	if h.node().Spec.Unschedulable || h.fullSince.IsZero() {
		return
	}
	const most = 2*timeout + 2*step
	if h.clock.Sub(latest(h.fullSince, h.opened, h.probe.next)) < most {
		return
	}
	for key, pod := range h.pods {
		if hasOwner(pod) && h.waits(key) && h.clock.Sub(h.since[key]) >= most {
			require.Fail(h.t, "the node should be locked", "seed %d: %s waits since %s", seed, key, h.since[key])
		}
	}
}

// Without a probe, a lock needs the Pods of two namespaces, none of which saw another find room.
func TestWithoutAProbeALockNeedsTwoTenantsInAnyHistory(t *testing.T) {
	locks := 0
	for seed := range uint64(12) {
		h := newHistory(t, seed, withoutProbe)
		h.sold[smallest], h.sold[common], h.sold[large] = false, false, false
		for range 150 {
			switch h.random.IntN(12) {
			case 0:
				h.create("attacker")
			case 1:
				h.create("victim")
			case 2:
				h.sold[common] = !h.sold[common] && h.random.IntN(4) == 0
			}
			h.advance()
			if !h.isLocked() {
				continue
			}
			locks++
			shown := map[string]bool{}
			for key := range h.since {
				if h.waits(key) && !h.roomAt[""].After(h.since[key]) {
					shown[key.Namespace] = true
				}
			}
			// Those that were evicted in this very check count too.
			for _, eviction := range h.evictions {
				shown[eviction.Namespace] = true
			}
			require.Len(t, shown, 2, "seed %d", seed)
		}
	}
	assert.Greater(t, locks, 8, "the histories have locks")
}
