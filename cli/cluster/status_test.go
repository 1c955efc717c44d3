package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/cli/cost"
)

// other is a Pod of another namespace in the cloud.
func other() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "train"},
		Spec:       corev1.PodSpec{NodeName: "virtual-0", Containers: []corev1.Container{{Name: "c"}}},
	}
}

func TestTheLoadOfNodesIsThatOfAllNamespaces(t *testing.T) {
	_, objects := cart()
	reader, _ := newReader(t, append(objects, other())...)
	in, err := reader.Status(t.Context(), "shop")
	require.NoError(t, err)
	assert.Len(t, in.Pods, 1)
	assert.Len(t, in.OnNodes, 2)
	assert.Equal(t, "Deployment cart", in.Workload(in.Pods[0]))
	all, err := reader.Status(t.Context(), "")
	require.NoError(t, err)
	assert.Len(t, all.Pods, 2)
	assert.Nil(t, all.OnNodes, "Pods has them")
	found, err := reader.Nodes(t.Context())
	require.NoError(t, err)
	assert.Len(t, found.Nodes, 1)
	assert.Empty(t, found.Unknown)
}

func TestCostsAreOfTheNamespaceAndTheRoomOfTheCluster(t *testing.T) {
	_, objects := cart()
	reader, client := newReader(t, append(objects, other())...)
	in, err := reader.Cost(t.Context(), "shop")
	require.NoError(t, err)
	assert.Empty(t, in.Unknown)
	assert.Len(t, in.Pods, 1)
	assert.Len(t, in.Cluster.Pods, 2)
	assert.Len(t, in.Cluster.Nodes, 2)
	all, err := reader.Cost(t.Context(), "")
	require.NoError(t, err)
	assert.Len(t, all.Pods, 2)

	// A user of one namespace.
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		forbidden := apierrors.NewForbidden(corev1.Resource("pods"), "", nil)
		return action.GetNamespace() == "", &corev1.PodList{}, forbidden
	})
	in, err = reader.Cost(t.Context(), "shop")
	require.NoError(t, err)
	require.Len(t, in.Unknown, 1)
	assert.Contains(t, in.Unknown[0], "what fits on local nodes")
	assert.Len(t, in.Pods, 1)
	assert.Nil(t, in.Cluster)
	got := cost.Summarize(in)
	assert.Equal(t, 1, got.Total.Pods)
	assert.Nil(t, got.Total.FitLocally)
}
