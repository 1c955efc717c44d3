package status

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// pod returns a Pod of a workload on a node. Its quota is empty for none.
func pod(workload, node, quota string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: workload, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("300m"), corev1.ResourceMemory: resource.MustParse("600Mi"),
			}},
		}}},
	}
	if quota != "" {
		p.Annotations[policy.LocalReplicasAnnotation] = quota
	}
	return p
}

// input has a workload of each kind that matters, and two virtual nodes, one of them cordoned.
func input(t *testing.T) Input {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	node := func(name string, cordoned bool) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: policy.VirtualNodeLabels()},
			Spec:       corev1.NodeSpec{Unschedulable: cordoned},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
				corev1.ResourcePods: resource.MustParse("1000"), corev1.ResourceCPU: resource.MustParse("100"),
				corev1.ResourceMemory: resource.MustParse("200Gi"),
			}},
		}
	}
	terminating := pod("cart", "virtual-0", "1")
	terminating.DeletionTimestamp = &metav1.Time{}
	succeeded := pod("cart", "virtual-0", "1")
	succeeded.Status.Phase = corev1.PodSucceeded
	shared := func(n int, node string) (pods []*corev1.Pod) {
		for range n {
			p := pod("shared", node, "30%")
			p.Annotations[policy.LocalMinAnnotation] = "2"
			pods = append(pods, p)
		}
		return pods
	}
	capped := pod("capped", "local-0", "")
	capped.Namespace = "lab"
	pods := []*corev1.Pod{
		capped,
		pod("cart", "local-0", "1"), pod("cart", "virtual-0", "1"), pod("cart", "virtual-0", "1"),
		pod("cart", "", "1"), terminating, succeeded,
		pod("batch", "virtual-0", ""), pod("quiet", "local-0", ""), pod("waits", "", ""),
	}
	pods = append(append(pods, shared(3, "local-0")...), shared(7, "virtual-0")...)
	return Input{
		Namespace: func(name string) map[string]string {
			if name == "lab" {
				return map[string]string{policy.LocalMaxAnnotation: "50%", policy.CloudMaxAnnotation: "4"}
			}
			return nil
		},
		Policy: rules, Pods: pods, Nodes: []*corev1.Node{node("virtual-1", true), node("virtual-0", false)},
		Workload: func(p *corev1.Pod) string { return "Deployment " + p.Name },
	}
}

func TestStatusCountsPodsByTheirPlace(t *testing.T) {
	got := Summarize(input(t))
	require.Len(t, got.Workloads, 4, "those with a key or with Pods in the cloud")
	cart, shared := got.Workloads[2], got.Workloads[3]
	assert.Equal(t, []int{3, 2}, []int{*shared.Quota, *shared.Floor}, "of 10 replicas")
	assert.Equal(t, "30% (3), min 2", shared.Shares)
	assert.Nil(t, shared.CloudMax)
	assert.Equal(t, "max 50% (1), cloud 4", got.Workloads[0].Shares, "of the namespace")
	assert.Equal(t, []int{1, 2, 1}, []int{cart.Local, cart.Cloud, cart.Waiting})
	assert.Equal(t, 1, *cart.Quota)
	assert.Equal(t, "1500m", cart.CPU, "a terminating Pod is billed until it is gone")
	require.Len(t, got.Nodes, 2)
	assert.Equal(t, 11, got.Nodes[0].Pods)
	assert.Equal(t, "3300m", got.Nodes[0].Used.Cpu().String())
	assert.Equal(t, "cordoned by a user", got.Nodes[1].State)
}

func TestStatusAsText(t *testing.T) {
	got := Summarize(input(t)).Text(true)
	if *update {
		require.NoError(t, os.WriteFile("testdata/status.txt", []byte(got), 0o644))
	}
	want, err := os.ReadFile("testdata/status.txt")
	require.NoError(t, err, "run go test ./cli/status -update")
	assert.Equal(t, string(want), got)
	assert.NotContains(t, Summarize(input(t)).Text(false), "NAMESPACE")
	empty := Summarize(Input{Unknown: []string{"the Pods"}})
	assert.Contains(t, empty.Text(false), "No workload has a key")
}

func TestABarShowsEachPlaceThatHasPods(t *testing.T) {
	for name, test := range map[string]struct {
		workload Workload
		want     string
	}{
		"none":              {Workload{}, ""},
		"one of a thousand": {Workload{Local: 1, Cloud: 999}, "█" + strings.Repeat("▒", 19)},
		"half local, half waits": {
			Workload{Local: 2, Waiting: 2}, strings.Repeat("█", 10) + strings.Repeat("·", 10),
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, test.workload.bar()) })
	}
}
