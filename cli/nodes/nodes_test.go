package nodes

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = metav1.NewTime(time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC))

func node(name string, change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: policy.VirtualNodeLabels(), Annotations: map[string]string{}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				corev1.ResourcePods: resource.MustParse("1000"), corev1.ResourceCPU: resource.MustParse("100"),
				corev1.ResourceMemory: resource.MustParse("200Gi"),
			},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
				{Type: "CloudDenied", Status: corev1.ConditionFalse},
			},
		},
	}
	change(n)
	return n
}

func pod(node string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("300m"), corev1.ResourceMemory: resource.MustParse("600Mi"),
			}},
		}}},
		Status: corev1.PodStatus{Phase: phase},
	}
}

// input has a node in each state, and Pods that count and that do not.
func input(t *testing.T) Input {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	table, err := prices.New(prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
	})
	require.NoError(t, err)
	return Input{
		Policy: rules, Prices: table,
		Nodes: []*corev1.Node{
			node("virtual-2", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
			node("virtual-1", func(n *corev1.Node) {
				n.Spec.Unschedulable = true
				n.Annotations[policy.SoldOutUntilAnnotation] = "2026-11-30T12:30:00Z"
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
					Type: "CloudThrottled", Status: corev1.ConditionTrue, Reason: "Throttled",
					Message: "createPod: slow down", LastTransitionTime: noon,
				})
			}),
			node("virtual-0", func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = "cn-north-4a" }),
			node("virtual-3", func(n *corev1.Node) {
				n.Status.Conditions = []corev1.NodeCondition{{
					Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown",
					Message: "Kubelet stopped posting node status.", LastTransitionTime: noon,
				}}
				// Left from a lock that has ended.
				n.Annotations[policy.SoldOutUntilAnnotation] = "2026-11-30T12:30:00Z"
			}),
		},
		Pods: []*corev1.Pod{
			pod("virtual-0", corev1.PodRunning), pod("virtual-0", corev1.PodPending),
			pod("virtual-0", corev1.PodFailed),
			pod("local-0", corev1.PodRunning), pod("", corev1.PodPending),
		},
	}
}

func TestNodesAsText(t *testing.T) {
	got := Count(input(t)).Text()
	if *update {
		require.NoError(t, os.WriteFile("testdata/nodes.txt", []byte(got), 0o644))
	}
	want, err := os.ReadFile("testdata/nodes.txt")
	require.NoError(t, err, "run go test ./cli/nodes -update")
	assert.Equal(t, string(want), got)
}

func TestNodesCountPodsThatHaveNotEnded(t *testing.T) {
	in := input(t)
	l := Count(in)
	assert.Equal(t, "CNY", l.Currency)
	require.Len(t, l.Nodes, 4)
	full := l.Nodes[0]
	assert.Equal(t, 2, full.Pods)
	assert.Equal(t, "600m", full.Used.Cpu().String())
	assert.Equal(t, []string{"1", "2Gi", "0.500000", "365.000000"},
		[]string{full.CPU, full.Memory, full.PerHour, full.PerMonth})
	assert.Equal(t, "0.000000", l.Nodes[1].PerHour)
	assert.Equal(t, []string{"", "2026-11-30T12:30:00Z", "", ""},
		[]string{full.LockedUntil, l.Nodes[1].LockedUntil, l.Nodes[2].LockedUntil, l.Nodes[3].LockedUntil})

	in.Prices = nil
	l = Count(in)
	assert.Empty(t, l.Currency)
	assert.Empty(t, l.Nodes[0].PerHour)
	assert.NotContains(t, l.Text(), "HOUR")
}

func TestWithoutVirtualNodesTheTextSaysSo(t *testing.T) {
	got := Count(Input{Unknown: []string{"the virtual nodes"}}).Text()
	assert.Contains(t, got, "no virtual node")
	assert.Contains(t, got, "Not known: the virtual nodes")
}
