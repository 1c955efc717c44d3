package kube

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

func TestAStoreFollowsAResource(t *testing.T) {
	configMap := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	}
	client := fake.NewClientset(configMap("listed"))
	configMaps := client.CoreV1().ConfigMaps("shop")
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Follow(ctx, "test", client, configMaps, &corev1.ConfigMap{}, store)
	}()
	keys := func(want ...string) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.ElementsMatch(c, want, store.ListKeys())
		}, 30*time.Second, 10*time.Millisecond)
	}
	keys("shop/listed")
	// The fake client tells only watches that have begun.
	require.Eventually(t, func() bool {
		for _, action := range client.Actions() {
			if action.Matches("watch", "configmaps") {
				return true
			}
		}
		return false
	}, 30*time.Second, 10*time.Millisecond)
	_, err := configMaps.Create(t.Context(), configMap("watched"), metav1.CreateOptions{})
	require.NoError(t, err)
	keys("shop/listed", "shop/watched")
	stop()
	<-ended
}
