package inventory_test

import (
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
)

// newIdle returns an inventory that does not run.
func newIdle(t *testing.T) *inventory.Inventory {
	t.Helper()
	i, err := inventory.New(inventory.Config{
		API: cloudtest.NewWithNetwork(t).Client, Namespace: cloudtest.Namespace, Owner: owner,
		WatchTimeout: time.Minute, RelistInterval: time.Hour, MinRetryInterval: time.Second,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return i
}

func sizedPod(key identity.Key, size sizes.Flavor, phase corev1.PodPhase) *cci.Pod {
	pod := &cci.Pod{Status: corev1.PodStatus{Phase: phase}}
	owner.Mark(&pod.ObjectMeta, key)
	pod.Annotations[policy.FlavorAnnotation] = size.String()
	return pod
}

func TestTheUseOfANamespace(t *testing.T) {
	i := newIdle(t)
	half, two := sizes.Flavor{MilliCPU: 500, MilliGiB: 1000}, sizes.Flavor{MilliCPU: 2000, MilliGiB: 4000}
	key := func(namespace, name string) identity.Key {
		return identity.Key{Namespace: namespace, Name: name, UID: types.UID(name)}
	}
	i.Put(sizedPod(key("shop", "small"), half, corev1.PodRunning))
	i.Put(sizedPod(key("shop", "large"), two, corev1.PodPending))
	i.Put(sizedPod(key("shop", "ended"), two, corev1.PodSucceeded))
	i.Put(sizedPod(key("other", "large"), two, corev1.PodRunning))
	pending := map[identity.Key]policy.CloudUse{
		key("shop", "large"): {Pods: 1, Flavor: two}, key("shop", "new"): {Pods: 1, Flavor: half},
	}
	assert.Equal(t, policy.CloudUse{Pods: 3, Flavor: sizes.Flavor{MilliCPU: 3000, MilliGiB: 6000}},
		i.UsedBesides(key("shop", "another"), pending), "what is known and reserved counts once")
	assert.Equal(t, policy.CloudUse{Pods: 2, Flavor: sizes.Flavor{MilliCPU: 1000, MilliGiB: 2000}},
		i.UsedBesides(key("shop", "large"), pending), "the Pod itself does not count")
	assert.Equal(t, policy.CloudUse{Pods: 2, Flavor: sizes.Flavor{MilliCPU: 2500, MilliGiB: 5000}},
		i.UsedBesides(key("shop", "new"), pending))
	assert.Zero(t, i.UsedBesides(key("none", "x"), nil))
}

// After any history the sum is that of all Pods.
func TestTheUseOfANamespaceIsTheSumOfItsPods(t *testing.T) {
	i := newIdle(t)
	random := rand.New(rand.NewPCG(1, 2))
	phases := []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodFailed}
	for range 2000 {
		name := strconv.Itoa(random.IntN(20))
		key := identity.Key{Namespace: "ns-" + strconv.Itoa(random.IntN(3)), Name: name, UID: types.UID(name)}
		if known := i.Get(key); known != nil {
			i.Drop(key, known)
		}
		if random.IntN(2) == 0 {
			size := sizes.Flavor{MilliCPU: 500 * (1 + random.Int64N(4)), MilliGiB: 1000 * (1 + random.Int64N(8))}
			i.Put(sizedPod(key, size, phases[random.IntN(len(phases))]))
		}
		want := map[string]policy.CloudUse{}
		for known, pod := range i.All() {
			if pod.Status.Phase != corev1.PodFailed {
				size, err := sizes.Parse(pod.Annotations[policy.FlavorAnnotation])
				require.NoError(t, err)
				want[known.Namespace] = want[known.Namespace].Plus(policy.CloudUse{Pods: 1, Flavor: size})
			}
		}
		for _, namespace := range []string{"ns-0", "ns-1", "ns-2"} {
			require.Equal(t, want[namespace], i.UsedBesides(identity.Key{Namespace: namespace}, nil))
		}
	}
}

// It once copied all cloud Pods for each creation.
func TestTheUseOfANamespaceCostsTheSameForManyPods(t *testing.T) {
	i := newIdle(t)
	for n := range 10_000 {
		name := strconv.Itoa(n)
		key := identity.Key{Namespace: "shop", Name: name, UID: types.UID(name)}
		i.Put(sizedPod(key, sizes.Flavor{MilliCPU: 500, MilliGiB: 1000}, corev1.PodRunning))
	}
	costtest.AtMost(t, 1<<20, func() {
		for range 10_000 {
			i.UsedBesides(identity.Key{Namespace: "shop", Name: "new"}, nil)
		}
	})
}
