package ledger_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// free counts nothing in the cloud.
type free struct{}

func (free) Use(*corev1.Pod) policy.CloudUse         { return policy.CloudUse{Pods: 1} }
func (free) Limits(string) (none policy.CloudLimits) { return none }
func (free) Annotations(string) map[string]string    { return nil }

// BenchmarkLifeOfAPod is the time of all that the ledger does for one Pod with a quota, in a cluster of 20,000 Pods:
// it is created, gets a slot, is bound and deleted. It also reports the memory that the ledger keeps for each Pod.
func BenchmarkLifeOfAPod(b *testing.B) {
	const pods, quota = 20_000, 5
	slots := ledger.New(virtualNodes{}, free{}, func(ledger.PodRef) {})
	store := slots.Store(slog.New(slog.DiscardHandler))
	version := 0
	update := func(name, owner, node string) *corev1.Pod {
		version++
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(version),
			Annotations: map[string]string{policy.LocalReplicasAnnotation: strconv.Itoa(quota)},
			OwnerReferences: []metav1.OwnerReference{
				{Kind: "ReplicaSet", UID: types.UID(owner), Controller: new(true)},
			},
		}, Spec: corev1.PodSpec{NodeName: node}}
		require.NoError(b, store.Update(pod))
		return pod
	}
	before := heap()
	for i := range pods {
		update(fmt.Sprintf("pod-%d", i), fmt.Sprintf("owner-%d", i/10), "local-0")
	}
	perPod := float64(heap()-before) / pods
	request := ledger.Request{UID: "uid-new", Shares: replicas(quota), LocalFits: true, CloudFits: true}
	b.ReportAllocs()
	for b.Loop() {
		update("new", "owner-new", "")
		slots.Reserve(request)
		require.NoError(b, store.Delete(update("new", "owner-new", "local-0")))
	}
	b.ReportMetric(perPod, "B/Pod")
	runtime.KeepAlive(slots)
}

// heap returns how much memory is in use.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
