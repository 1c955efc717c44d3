package orphans

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// cluster is what a cluster says of its Pods.
type cluster struct {
	pods map[identity.Key]bool
	err  error
}

func (c *cluster) PodsOn(context.Context, string) (map[identity.Key]bool, error) {
	return c.pods, c.err
}

// put makes a cloud Pod that stands for a Pod.
func put(t *testing.T, cloud *cloudtest.Cloud, clusterID string, key identity.Key) {
	t.Helper()
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   identity.CloudName(key),
			Labels: map[string]string{policy.CloudClusterKey: clusterID},
			Annotations: map[string]string{
				policy.CloudClusterKey: clusterID, policy.CloudNodeAnnotation: "node", policy.CloudNamespaceAnnotation: key.Namespace,
				policy.CloudNameAnnotation: key.Name, policy.CloudUIDAnnotation: string(key.UID),
			},
		},
		Spec: cci.PodSpec{Containers: []cci.Container{{Name: "c", Image: "nginx", Resources: cci.Resources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		}}}},
	})
	require.NoError(t, err)
}

func names(found []Orphan) []string {
	var all []string
	for _, o := range found {
		all = append(all, o.Key.Name)
	}
	return all
}

func TestOnlyWhatStandsForNoPodIsAnOrphan(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	live, gone := identity.Key{Namespace: "ns", Name: "live", UID: "1"}, identity.Key{Namespace: "ns", Name: "gone", UID: "2"}
	older := identity.Key{Namespace: "ns", Name: "live", UID: "0"}
	for _, key := range []identity.Key{live, gone, older} {
		put(t, cloud, "mine", key)
	}
	put(t, cloud, "theirs", identity.Key{Namespace: "ns", Name: "theirs", UID: "3"})
	known := &cluster{pods: map[identity.Key]bool{live: true}}
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Cluster: known}

	found, err := finder.Find(t.Context())
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"gone", "live"}, names(found), "the one whose Pod is gone, and the one of an earlier Pod of the same name")

	finder.Nodes = func(context.Context, string) (bool, error) { return false, nil }
	found, err = finder.Find(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found, "the node has a tender of its own")

	finder.Nodes = nil
	known.err = errors.New("the API server is away")
	_, err = finder.Find(t.Context())
	require.ErrorContains(t, err, "the API server is away", "what is not known is no orphan")
}

func TestASweepEndsWhatItSeesTwiceInARow(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	key := identity.Key{Namespace: "ns", Name: "web", UID: "1"}
	put(t, cloud, "mine", key)
	known := &cluster{pods: map[identity.Key]bool{}}
	var found, ended int
	sweep := &Sweep{
		Finder: &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Cluster: known},
		Found:  func(n int) { found = n }, Ended: func() { ended++ }, Logger: slog.New(slog.DiscardHandler),
	}
	steps := []struct {
		what         string
		there        bool
		err          error
		found, ended int
	}{
		{"first sight", false, nil, 1, 0},
		{"its Pod is there after all", true, nil, 0, 0},
		{"first sight again", false, nil, 1, 0},
		{"the cluster cannot be asked", false, errors.New("away"), 1, 0},
		{"seen by two good looks in a row", false, nil, 1, 1},
	}
	for _, step := range steps {
		known.pods[key], known.err = step.there, step.err
		sweep.look(t.Context())
		assert.Equal(t, step.found, found, step.what)
		assert.Equal(t, step.ended, ended, step.what)
	}
}
