package orphans

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
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
