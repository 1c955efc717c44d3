// Package podcachetest provides filled caches, Pods and an evaluator to the tests of the controllers. It needs no API
// server.
package podcachetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/policy"
)

// Timeout limits how long a test waits for a condition.
const Timeout = 30 * time.Second

// VirtualNode is the name of the virtual node of Nodes.
const VirtualNode = "virtual-node-cci-0"

// Web is the name of the Pod that WaitingPod returns.
var Web = cache.NewObjectName("shop", "web")

// WaitingPod returns a Pod of a ReplicaSet for which the scheduler has found no node. Each change is applied to it.
func WaitingPod(changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Web.Namespace, Name: Web.Name, UID: "u1", ResourceVersion: "7",
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", UID: "o1", Controller: new(true)},
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable},
		}},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// RunningPod returns a Pod of a ReplicaSet that runs on a node. Each change is applied to it.
func RunningPod(node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	return WaitingPod(append([]func(*corev1.Pod){func(pod *corev1.Pod) {
		pod.Spec.NodeName, pod.Status = node, corev1.PodStatus{Phase: corev1.PodRunning}
	}}, changes...)...)
}

// Pods returns a clientset with the Pods and a cache that has seen them.
func Pods(t *testing.T, pods ...*corev1.Pod) (*fake.Clientset, *podcache.Pods) {
	t.Helper()
	objects := make([]runtime.Object, 0, len(pods))
	for _, pod := range pods {
		objects = append(objects, pod)
	}
	client := fake.NewClientset(objects...)
	cached, err := podcache.NewPods(client)
	require.NoError(t, err)
	Run(t, cached.Run)
	Eventually(t, cached.Ready, "the cache of Pods is filled")
	return client, cached
}

// Nodes returns a cache with VirtualNode, which belongs to Spillway, and with virtual nodes of another system.
func Nodes(t *testing.T, others ...string) *podcache.VirtualNodes {
	t.Helper()
	objects := []runtime.Object{node(VirtualNode, policy.VirtualNodeLabels())}
	for _, other := range others {
		objects = append(objects, node(other, map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}))
	}
	scheme := metadatafake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(scheme))
	nodes := podcache.NewVirtualNodes(metadatafake.NewSimpleMetadataClient(scheme, objects...))
	Run(t, nodes.Run)
	Eventually(t, nodes.Ready, "the cache of nodes is filled")
	return nodes
}

func node(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}

// Run runs a part until the test ends or stop is called.
func Run(t *testing.T, part func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	stop = func() {
		cancel()
		err := <-ended
		assert.NoError(t, err)
		ended <- err
	}
	t.Cleanup(stop)
	return stop
}

// Eventually waits for a condition.
func Eventually(t *testing.T, condition func() bool, description string) {
	t.Helper()
	require.Eventually(t, condition, Timeout, time.Millisecond, description)
}

// Evaluator is a fake of the evaluators of the controllers: it returns the result of a function.
type Evaluator func(*corev1.Pod) (evaluation.Result, error)

// Evaluate returns the result.
func (e Evaluator) Evaluate(_ context.Context, pod *corev1.Pod) (evaluation.Result, error) {
	return e(pod)
}

// Evaluates returns an Evaluator with one result for all Pods.
func Evaluates(result evaluation.Result) Evaluator {
	return func(*corev1.Pod) (evaluation.Result, error) { return result, nil }
}

// Owners is a fake of the owners of Pods. Its owners never change.
type Owners struct {
	// Malformed: all Pods inherit a malformed label.
	Malformed bool
	// Annotations are those of all namespaces.
	Annotations map[string]string
}

// InheritsMalformed returns Malformed.
func (o Owners) InheritsMalformed(*corev1.Pod) bool { return o.Malformed }

// CachedNamespace returns Annotations.
func (o Owners) CachedNamespace(string) map[string]string { return o.Annotations }

// OnChange never calls changed.
func (o Owners) OnChange(func(string)) (stop func() error, err error) {
	return func() error { return nil }, nil
}
