package cost

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is an Input that a test changes.
type world struct {
	Input
	count int
}

// newWorld has one virtual node and one local node of 2 cores and 4Gi, and prices.
func newWorld(t *testing.T) *world {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	table, err := prices.New(prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
		GeneralComputingLite: prices.Rates{CoreHour: "0.2", GiBHour: "0.05"},
	})
	require.NoError(t, err)
	virtual := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "virtual-0", Labels: policy.VirtualNodeLabels()}}
	return &world{Input: Input{
		Policy: rules, Prices: table, Virtual: []*corev1.Node{virtual},
		Cluster:  &Cluster{Nodes: []*corev1.Node{virtual, local("local-0")}},
		Workload: func(p *corev1.Pod) string { return "Deployment " + p.Labels["app"] },
	}}
}

func local(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				corev1.ResourcePods: resource.MustParse("10"), corev1.ResourceCPU: resource.MustParse("2"),
				corev1.ResourceMemory: resource.MustParse("4Gi"),
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// add adds a Pod of a workload that requests half a core and 1Gi.
func (w *world) add(namespace, app, node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	w.count++
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%d", app, w.count), UID: types.UID(fmt.Sprint(w.count)),
			Labels: map[string]string{"app": app}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app, UID: types.UID(namespace + app),
				Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi"),
			}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, change := range changes {
		change(pod)
	}
	w.Pods = append(w.Pods, pod)
	if w.Cluster != nil {
		w.Cluster.Pods = append(w.Cluster.Pods, pod)
	}
	return pod
}

func quota(n string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = n }
}

func lite(p *corev1.Pod) {
	p.Annotations[sizes.InstanceTypeAnnotation] = string(sizes.GeneralComputingLite)
}

func TestCostsAreSummedUp(t *testing.T) {
	w := newWorld(t)
	w.add("shop", "cart", "virtual-0")
	w.add("shop", "cart", "virtual-0", lite)
	w.add("shop", "cart", "local-0")
	w.add("shop", "cart", "")
	w.add("shop", "batch", "virtual-0", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	w.add("shop", "web", "virtual-0", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })
	w.add("lab", "cart", "virtual-0")
	got := Summarize(w.Input)
	require.Len(t, got.Workloads, 3, "those with Pods in the cloud that have not ended")
	cart := got.Workloads[1]
	assert.Equal(t, []string{"shop", "Deployment cart"}, []string{cart.Namespace, cart.Name})
	assert.Equal(t, 2, cart.Pods)
	assert.Equal(t, []string{"1", "2Gi", "0.400000", "292.000000"},
		[]string{cart.CPU, cart.Memory, cart.PerHour, cart.PerMonth}, "0.25 and, as lite, 0.15")
	assert.Equal(t, "0.250000", got.Workloads[2].PerHour, "a terminating Pod is billed until it is gone")
	require.Len(t, got.Namespaces, 2)
	assert.Equal(t, "lab", got.Namespaces[0].Name)
	assert.Equal(t, "0.650000", got.Namespaces[1].PerHour)
	assert.Equal(t, 4, got.Total.Pods)
	assert.Equal(t, "0.900000", got.Total.PerHour)
	assert.Equal(t, "657.000000", got.Total.PerMonth)
}

func TestWhatFitsLocally(t *testing.T) {
	const all = 3
	for name, test := range map[string]struct {
		change func(*world)
		want   int
	}{
		"all, if there is room":          {func(*world) {}, all},
		"none, if there are only clouds": {func(w *world) { w.Cluster.Nodes = w.Virtual }, 0},
		"what fits beside others": {func(w *world) {
			for range 2 {
				w.add("lab", "other", "local-0")
			}
		}, 2},
		"Pods that have ended leave room": {func(w *world) {
			for range 4 {
				w.add("lab", "other", "local-0", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
			}
		}, all},
		"none on a cordoned node":           {func(w *world) { w.Cluster.Nodes[1].Spec.Unschedulable = true }, 0},
		"none on a node that is not ready":  {func(w *world) { w.Cluster.Nodes[1].Status.Conditions = nil }, 0},
		"none on a node with another taint": {func(w *world) { w.Cluster.Nodes[1].Spec.Taints = dedicated() }, 0},
		"those that tolerate it": {func(w *world) {
			w.Cluster.Nodes[1].Spec.Taints = dedicated()
			w.Pods[0].Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, 1},
		"none that selects other nodes": {func(w *world) {
			for _, p := range w.Pods {
				p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
			}
		}, 0},
		"none that requests what no node has": {func(w *world) {
			for _, p := range w.Pods {
				p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"] = resource.MustParse("1")
			}
		}, 0},
		"the marker is no resource": {func(w *world) {
			for _, p := range w.Pods {
				p.Spec.Containers[0].Resources.Requests[policy.PlacementResource] = resource.MustParse("1")
			}
		}, all},
		"as many Pods as the node takes": {func(w *world) {
			w.Cluster.Nodes[1].Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1")
		}, 1},
		"none that requires the cloud": {func(w *world) {
			for _, p := range w.Pods {
				p.Labels[policy.BurstLabel] = string(policy.ModeEnforce)
			}
		}, 0},
		"none beyond the quota": {func(w *world) {
			w.add("shop", "cart", "local-0")
			for _, p := range w.Pods {
				quota("1")(p)
			}
		}, 0},
		"one below the quota": {func(w *world) {
			w.add("shop", "cart", "local-0")
			for _, p := range w.Pods {
				quota("2")(p)
			}
		}, 1},
		"one below a percentage of the replicas": {func(w *world) { // 2 of 4
			w.add("shop", "cart", "local-0")
			for _, p := range w.Pods {
				quota("50%")(p)
			}
		}, 1},
		"none beyond a maximum of the namespace": {func(w *world) {
			w.add("shop", "cart", "local-0")
			w.Namespace = func(string) map[string]string { return map[string]string{policy.LocalMaxAnnotation: "1"} }
		}, 0},
		"all above a minimum alone": {func(w *world) {
			w.Namespace = func(string) map[string]string { return map[string]string{policy.LocalMinAnnotation: "1"} }
		}, all},
		"a slot of a Pod that is not bound counts": {func(w *world) {
			p := w.add("shop", "cart", "")
			p.Annotations[policy.LocalSlotAnnotation] = string(p.UID)
			for _, p := range w.Pods {
				quota("2")(p)
			}
		}, 1},
		"not one that is terminating": {func(w *world) { w.Pods[0].DeletionTimestamp = &metav1.Time{} }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for range all {
				w.add("shop", "cart", "virtual-0")
			}
			test.change(w)
			got := Summarize(w.Input)
			require.NotNil(t, got.Total.FitLocally)
			assert.Equal(t, test.want, got.Total.FitLocally.Pods)
			assert.Equal(t, fmt.Sprintf("%.6f", 0.25*float64(test.want)), got.Total.FitLocally.PerHour)
		})
	}
}

func dedicated() []corev1.Taint {
	return []corev1.Taint{
		{Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule}, {Key: "team", Effect: corev1.TaintEffectNoSchedule},
	}
}

func TestTheRoomOfANodeIsGivenOnce(t *testing.T) {
	w := newWorld(t)
	for _, app := range []string{"a", "b"} {
		for range 3 {
			w.add("shop", app, "virtual-0")
		}
	}
	got := Summarize(w.Input)
	assert.Equal(t, []int{3, 1, 4}, []int{
		got.Workloads[0].FitLocally.Pods, got.Workloads[1].FitLocally.Pods, got.Total.FitLocally.Pods,
	})
}

func TestCostAsText(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.add("shop", "cart", "virtual-0")
	}
	w.add("shop", "web", "virtual-0", quota("0"))
	w.add("lab", "train", "virtual-0", lite)
	priced := Summarize(w.Input)
	w.Prices, w.Cluster, w.Unknown = nil, nil, []string{"what fits on local nodes"}
	got := "# -A\n" + priced.Text(true) + "\n# one namespace, without prices and rights\n" +
		Summarize(w.Input).Text(false) + "\n# nothing\n" + Summarize(Input{}).Text(false)
	if *update {
		require.NoError(t, os.WriteFile("testdata/cost.txt", []byte(got), 0o644))
	}
	want, err := os.ReadFile("testdata/cost.txt")
	require.NoError(t, err, "run go test ./cli/cost -update")
	assert.Equal(t, string(want), got)
}
