// Package integration compares package fit with a real kube-scheduler.
package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/extender/wayhome/fit"
	"github.com/spillway-k8s/spillway/test/system"
)

var (
	rounds = flag.Int("rounds", 3, "clusters of random nodes")
	seed   = flag.Uint64("seed", 1, "seed of the first cluster")
)

const (
	// podsPerRound is how many Pods are scheduled one after another.
	podsPerRound = 100
	// timeout is how long the test waits for the scheduler to decide.
	timeout = time.Minute
)

// TestTheSchedulerBindsWhatFits: in random clusters, random Pods are scheduled one after another. Whenever fit names a
// node, the scheduler must bind the Pod to a local node.
func TestTheSchedulerBindsWhatFits(t *testing.T) {
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	trial, err := system.Start(t.Context(), system.Config{
		Dir: t.TempDir(), BinDir: bin, DieWithParent: true, BareNodes: true,
		Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"},
		Without: []string{
			system.ControllerManager, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode",
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, trial.Stop(context.WithoutCancel(t.Context()))) })
	var total tally
	for i := range *rounds {
		r := &round{
			client: trial.Client(), random: rand.New(rand.NewPCG(*seed+uint64(i), 0)),
			namespace: fmt.Sprint("round-", i), number: i,
		}
		r.play(t, &total)
		if t.Failed() {
			break
		}
	}
	t.Logf("%+v", total)
	pods := *rounds * podsPerRound
	assert.Equal(t, pods, total.Named+total.Unsure+total.Unschedulable)
	assert.Greater(t, total.Named, pods/4, "fit must name nodes, or the test shows nothing")
	assert.Greater(t, total.Unschedulable, pods/20, "there must be Pods that do not fit")
	assert.Less(t, total.Unsure, total.Named/2, "fit must not be useless")
}

// tally counts the Pods.
type tally struct {
	// Named are Pods for which fit named a node. Unsure are those that the scheduler bound nevertheless.
	Named, Unsure, Unschedulable int
}

// round is one random cluster.
type round struct {
	client    kubernetes.Interface
	random    *rand.Rand
	namespace string
	number    int
}

func (r *round) chance(percent int) bool { return r.random.IntN(100) < percent }

func (r *round) play(t *testing.T, total *tally) {
	t.Helper()
	ctx := t.Context()
	for _, name := range []string{r.namespace, r.namespace + "-b"} {
		_, err := r.client.CoreV1().Namespaces().Create(
			ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = r.client.CoreV1().ServiceAccounts(name).Create(
			ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	r.createNodes(t)
	r.createClaims(t)
	for i := range podsPerRound {
		r.schedule(t, i, total)
		if t.Failed() {
			return
		}
	}
	r.clear(t)
}

// schedule asks fit about a Pod, lets the scheduler decide, and compares.
func (r *round) schedule(t *testing.T, i int, total *tally) {
	t.Helper()
	ctx := t.Context()
	wanted := r.pod(i)
	asked, err := r.pods(wanted.Namespace).Create(ctx, wanted, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err)
	if r.chance(50) && len(wanted.Spec.SchedulingGates) == 0 { // The Pod that is to be replaced is in the cloud.
		asked = r.twin(t, wanted)
	}
	name, why := r.cluster(t).Node(asked, func(n string) bool { return !isVirtual(n) })
	if asked.Spec.NodeName != "" && r.chance(50) {
		r.remove(t, asked)
	}
	created, err := r.pods(wanted.Namespace).Create(ctx, wanted, metav1.CreateOptions{})
	require.NoError(t, err)
	var node string
	require.Eventually(t, func() bool {
		got, err := r.pods(wanted.Namespace).Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		node = got.Spec.NodeName
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				return true
			}
		}
		return node != ""
	}, timeout, 5*time.Millisecond)
	switch {
	case name != "":
		if !assert.NotEmpty(t, node) || !assert.False(t, isVirtual(node)) {
			text, _ := json.Marshal(created.Spec)
			t.Logf("round %d, Pod %d: fit named %s for labels %v and spec %s", r.number, i, name, created.Labels, text)
		}
		total.Named++
	case node != "":
		t.Logf("round %d, Pod %d is bound to %s; fit was not sure: %s", r.number, i, node, why)
		total.Unsure++
	default:
		total.Unschedulable++
	}
	if node == "" {
		r.remove(t, created)
		return
	}
	r.disturb(t, created)
}

// disturb changes a bound Pod as a kubelet or a user would.
func (r *round) disturb(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	ctx := t.Context()
	var status string
	switch {
	case r.chance(5):
		require.NoError(t, r.pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})) // It stays terminating.
		return
	case r.chance(5):
		status = `{"status":{"phase":"Succeeded"}}`
	case r.chance(10):
		status = `{"status":{"phase":"Running","containerStatuses":[{"name":"main","image":"x","imageID":"x",` +
			`"allocatedResources":{"cpu":"1800m"}}]}}`
	default:
		return
	}
	_, err := r.pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(status),
		metav1.PatchOptions{}, "status")
	require.NoError(t, err)
}

// twin creates the same Pod on a virtual node.
func (r *round) twin(t *testing.T, wanted *corev1.Pod) *corev1.Pod {
	t.Helper()
	twin := wanted.DeepCopy()
	twin.Name += "-cloud"
	twin.Spec.NodeName = r.node("virtual", r.random.IntN(virtualNodes))
	created, err := r.pods(twin.Namespace).Create(t.Context(), twin, metav1.CreateOptions{})
	require.NoError(t, err)
	return created
}

func (r *round) cluster(t *testing.T) *fit.Cluster {
	t.Helper()
	ctx := t.Context()
	nodes, err := r.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	pods, err := r.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	return fit.NewCluster(pointers(nodes.Items), pointers(pods.Items)).WithVolumes(fit.Volumes{
		Claim: func(namespace, name string) *corev1.PersistentVolumeClaim {
			claim, err := r.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			return claim
		},
		Volume: func(name string) *corev1.PersistentVolume {
			volume, err := r.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			return volume
		},
	})
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}

func (r *round) pods(namespace string) podClient { return r.client.CoreV1().Pods(namespace) }

func (r *round) remove(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	require.NoError(t, r.pods(pod.Namespace).Delete(
		t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
}

// clear deletes the Pods and nodes of the round.
func (r *round) clear(t *testing.T) {
	t.Helper()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	for _, namespace := range []string{r.namespace, r.namespace + "-b"} {
		require.NoError(t, r.pods(namespace).DeleteCollection(t.Context(), now, metav1.ListOptions{}))
	}
	require.NoError(t, r.client.CoreV1().Nodes().DeleteCollection(t.Context(), now, metav1.ListOptions{}))
}

func isVirtual(node string) bool { return strings.Contains(node, "-virtual-") }
