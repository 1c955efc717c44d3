package ledger_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// ownedBy makes a controller the owner of a Pod.
func ownedBy(kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = kind, name
		p.OwnerReferences[0].UID = types.UID(kind + name)
	}
}

func labelled(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{key: value} }
}

func withQuota(quota string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = quota }
}

func withoutQuota(p *corev1.Pod) { delete(p.Annotations, policy.LocalReplicasAnnotation) }

func TestAPodBelongsToAWorkloadThatStays(t *testing.T) {
	for name, test := range map[string]struct {
		change []func(*corev1.Pod)
		want   ledger.Workload
	}{
		"a Deployment names its ReplicaSets": {
			change: []func(*corev1.Pod){ownedBy("ReplicaSet", "cart-7d9f"), labelled("pod-template-hash", "7d9f")},
			want:   ledger.Workload{Namespace: "default", Kind: "Deployment", Name: "cart"},
		},
		"a Rollout of Argo does": {
			change: []func(*corev1.Pod){
				ownedBy("ReplicaSet", "cart-7d9f"), labelled("rollouts-pod-template-hash", "7d9f"),
			},
			want: ledger.Workload{Namespace: "default", Kind: "Rollout", Name: "cart"},
		},
		"a ReplicaSet of its own": {
			change: []func(*corev1.Pod){ownedBy("ReplicaSet", "cart-7d9f")},
			want:   ledger.Workload{Namespace: "default", Kind: "ReplicaSet", Name: "cart-7d9f"},
		},
		"a StatefulSet": {
			change: []func(*corev1.Pod){ownedBy("StatefulSet", "db")},
			want:   ledger.Workload{Namespace: "default", Kind: "StatefulSet", Name: "db"},
		},
		"a Job comes and goes": {
			change: []func(*corev1.Pod){ownedBy("Job", "nightly-29384756")},
			want:   ledger.Workload{Namespace: "default"},
		},
		"a bare Pod comes and goes": {
			change: []func(*corev1.Pod){func(p *corev1.Pod) { p.OwnerReferences = nil }},
			want:   ledger.Workload{Namespace: "default"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.pod("a", append(test.change, bound("virtual-0"), withoutQuota)...)
			found := c.Stats().Workloads
			require.Len(t, found, 1)
			assert.Equal(t, test.want, found[0].Workload)
			assert.EqualValues(t, 1, found[0].Cloud.Pods)
			c.delete("a")
			assert.Empty(t, c.Stats().Workloads)
		})
	}
}

func TestTheQuotaOfAWorkloadIsSummedOverItsRevisions(t *testing.T) {
	c := newCluster(t)
	for pod, node := range map[string]string{"a1": "local-0", "a2": "virtual-0", "a3": "virtual-0", "b1": "local-0"} {
		revision := pod[:1]
		c.pod(pod, ownedBy("ReplicaSet", "cart-"+revision), labelled("pod-template-hash", revision), withQuota("2"),
			bound(node))
	}
	found := c.Stats().Workloads
	require.Len(t, found, 1)
	want := ledger.LocalStats{Wanted: 3, Used: 2, Missing: 1, Quota: true}
	assert.Equal(t, want, found[0].Local, "revision a has three Pods, and b one")
	c.pod("a1", withQuota("3"))
	want = ledger.LocalStats{Wanted: 4, Used: 2, Missing: 2, Quota: true}
	assert.Equal(t, want, c.Stats().Workloads[0].Local, "the quota of the Pod that was seen last")
	c.pod("a1", withQuota("all"))
	want = ledger.LocalStats{Wanted: 1, Used: 1, Quota: true}
	assert.Equal(t, want, c.Stats().Workloads[0].Local, "a malformed quota keeps no Pod local")
	c.pod("b1", labelled(policy.BurstLabel, "enforce"))
	assert.Zero(t, c.Stats().Workloads[0].Local, "nor does one of Pods that run in the cloud only")
}

func TestTheNumberOfWorkloadsIsBounded(t *testing.T) {
	c := newCluster(t)
	for _, pod := range []string{"big-1", "big-2", "big-3", "mid-1", "mid-2", "small-1", "tiny-1"} {
		c.pod(pod, ownedBy("StatefulSet", pod[:len(pod)-2]), withoutQuota, bound("virtual-0"))
	}
	c.pod("job-1", ownedBy("Job", "job"), withoutQuota, bound("virtual-0"))
	pods := map[string]int64{}
	for _, w := range c.MostWorkloads(2) {
		pods[w.Name] = w.Cloud.Pods
	}
	assert.Equal(t, map[string]int64{"big": 3, "mid": 2, "": 3}, pods, "no Pod is lost")
}

func TestCollectorExportsWhatWorkloadsUseInTheCloud(t *testing.T) {
	c := newCluster(t)
	c.pod("a", ownedBy("StatefulSet", "db"), sized("1.00_1.0"), withoutQuota, bound("virtual-0"))
	c.pod("b", ownedBy("StatefulSet", "db"), sized("0.50_1.0"), withoutQuota, bound("virtual-0"))
	const labels = `{kind="StatefulSet",namespace="default",workload="db"}`
	want := `
# HELP spillway_ledger_cloud_cpu_cores Cores that the cloud bills, by workload as cloud_pods.
# TYPE spillway_ledger_cloud_cpu_cores gauge
spillway_ledger_cloud_cpu_cores` + labels + ` 1.5
# HELP spillway_ledger_cloud_memory_bytes Memory that the cloud bills, by workload as cloud_pods.
# TYPE spillway_ledger_cloud_memory_bytes gauge
spillway_ledger_cloud_memory_bytes` + labels + ` 2.147483648e+09
`
	require.NoError(t, testutil.CollectAndCompare(ledger.NewCollector(c.Ledger), strings.NewReader(want),
		"spillway_ledger_cloud_cpu_cores", "spillway_ledger_cloud_memory_bytes"))
}
