package orphans

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

func TestNodesOfOthersAreNotSelected(t *testing.T) {
	client := fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	server := APIServer{Client: client.CoreV1()}
	gone, selected := server.Gone("mine"), server.MineOrGone("mine")
	for name, test := range map[string]struct {
		node           string
		gone, selected bool
	}{
		"the calling node is selected and not gone":    {"mine", false, true},
		"another node manages its own cloud Pods":      {"other", false, false},
		"a node that does not exist is gone, selected": {"former", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := gone(t.Context(), test.node)
			require.NoError(t, err)
			assert.Equal(t, test.gone, got)
			got, err = selected(t.Context(), test.node)
			require.NoError(t, err)
			assert.Equal(t, test.selected, got)
		})
	}
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is unavailable")
	})
	for _, ask := range []func(context.Context, string) (bool, error){gone, selected} {
		got, err := ask(t.Context(), "former")
		require.ErrorContains(t, err, "the API server is unavailable")
		assert.False(t, got, "after an error no node is gone")
	}
}

// A program that may act as some nodes only lists as each of them.
func TestPodsAreListedAsTheirNode(t *testing.T) {
	may := map[string]bool{"mine": true, "other": true}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}})
	server := APIServer{Client: client.CoreV1(), As: func(node string) (corev1client.CoreV1Interface, error) {
		as := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: node, UID: "1"}})
		as.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return !may[node], nil, apierrors.NewForbidden(corev1.Resource("users"), node, errors.New("no"))
		})
		return as.CoreV1(), nil
	}}
	for name, test := range map[string]struct {
		node string
		pods int
		err  string
	}{
		"its own node":             {"mine", 1, ""},
		"another of its nodes":     {"other", 1, ""},
		"a former node has none":   {"former", 0, ""},
		"a node that still exists": {"foreign", 0, "listing pods"},
	} {
		t.Run(name, func(t *testing.T) {
			pods, err := server.PodsOn(t.Context(), test.node)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Len(t, pods, test.pods)
		})
	}
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is unavailable")
	})
	_, err := server.PodsOn(t.Context(), "former")
	require.ErrorContains(t, err, "listing pods", "after an error no node is a former node")
}

func TestPodsAreListedPageByPage(t *testing.T) {
	client := fake.NewClientset()
	pods := []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-0", UID: "1"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-1", UID: "2"}},
	}
	failing := false
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		options := action.(clienttesting.ListActionImpl).ListOptions
		assert.Equal(t, "spec.nodeName=virtual", options.FieldSelector)
		assert.EqualValues(t, pageSize, options.Limit)
		switch {
		case options.Continue == "":
			return true, &corev1.PodList{ListMeta: metav1.ListMeta{Continue: "next"}, Items: pods[:1]}, nil
		case failing:
			return true, nil, errors.New("the API server is unavailable")
		}
		return true, &corev1.PodList{Items: pods[1:]}, nil
	})
	server := APIServer{Client: client.CoreV1()}
	found, err := server.PodsOn(t.Context(), "virtual")
	require.NoError(t, err)
	assert.Equal(t, map[identity.Key]bool{identity.KeyOf(&pods[0]): true, identity.KeyOf(&pods[1]): true}, found)

	failing = true
	_, err = server.PodsOn(t.Context(), "virtual")
	require.ErrorContains(t, err, "the API server is unavailable", "an incomplete list is an error")
}
