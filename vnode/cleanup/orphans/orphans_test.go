package orphans

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// cluster returns fixed answers.
type cluster struct {
	pods map[identity.Key]bool
	err  error
}

func (c *cluster) PodsOn(context.Context, string) (map[identity.Key]bool, error) {
	return c.pods, c.err
}

// put creates a cloud Pod that stands for a Pod.
func put(t *testing.T, cloud *cloudtest.Cloud, clusterID string, key identity.Key) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: identity.CloudName(key)}
	identity.Owner{ClusterID: clusterID, Node: "node"}.Mark(&meta, key)
	putPod(t, cloud, meta)
}

// putProbe creates the probe of a virtual node.
func putProbe(t *testing.T, cloud *cloudtest.Cloud, clusterID, node string) {
	t.Helper()
	var meta metav1.ObjectMeta
	identity.Owner{ClusterID: clusterID, Node: node}.MarkProbe(&meta)
	putPod(t, cloud, meta)
}

func putPod(t *testing.T, cloud *cloudtest.Cloud, meta metav1.ObjectMeta) {
	t.Helper()
	size := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi"),
	}
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, &cci.Pod{
		ObjectMeta: meta,
		Spec: cci.PodSpec{Containers: []cci.Container{{
			Name: "c", Image: "nginx", Resources: cci.Resources{Requests: size, Limits: size},
		}}},
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

func TestOnlyACloudPodWithoutAPodIsAnOrphan(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	live := identity.Key{Namespace: "ns", Name: "live", UID: "1"}
	gone := identity.Key{Namespace: "ns", Name: "gone", UID: "2"}
	older := identity.Key{Namespace: "ns", Name: "live", UID: "0"}
	for _, key := range []identity.Key{live, gone, older} {
		put(t, cloud, "mine", key)
	}
	put(t, cloud, "theirs", identity.Key{Namespace: "ns", Name: "theirs", UID: "3"})
	known := &cluster{pods: map[identity.Key]bool{live: true}}
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Cluster: known}

	found, err := finder.Find(t.Context())
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"gone", "live"}, names(found),
		"the one whose Pod is gone, and the one of an earlier Pod of the same name")

	finder.Nodes = func(context.Context, string) (bool, error) { return false, nil }
	found, err = finder.Find(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found, "the node manages its own cloud Pods")

	finder.Nodes = nil
	known.err = errors.New("the API server is away")
	_, err = finder.Find(t.Context())
	require.ErrorContains(t, err, "the API server is away", "after an error nothing is an orphan")
}

// The probe of a virtual node is managed by the node as long as it exists.
func TestOnlyTheProbesOfDeletedNodesAreOrphans(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	putProbe(t, cloud, "mine", "gone")
	putProbe(t, cloud, "mine", "live")
	putProbe(t, cloud, "theirs", "gone")
	finder := &Finder{
		Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Cluster: &cluster{},
		Gone: func(_ context.Context, name string) (bool, error) { return name == "gone", nil },
	}
	find := func() []string {
		t.Helper()
		found, err := finder.Find(t.Context())
		require.NoError(t, err)
		var nodes []string
		for _, o := range found {
			assert.Equal(t, "(probe)", o.Key.Name)
			nodes = append(nodes, o.Node)
		}
		return nodes
	}
	assert.Equal(t, []string{"gone"}, find())
	finder.Gone, finder.Cluster = nil, nil
	assert.ElementsMatch(t, []string{"gone", "live"}, find(), "without a cluster no node exists")
	finder.Gone = func(context.Context, string) (bool, error) { return false, errors.New("the API server is away") }
	_, err := finder.Find(t.Context())
	require.ErrorContains(t, err, "the API server is away", "after an error nothing is deleted")
}

func TestASweepDeletesWhatTwoComparisonsInARowFind(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	key := identity.Key{Namespace: "ns", Name: "web", UID: "1"}
	put(t, cloud, "mine", key)
	known := &cluster{pods: map[identity.Key]bool{}}
	sweep := NewSweep(SweepConfig{
		Finder: &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Cluster: known},
		Logger: slog.New(slog.DiscardHandler),
	})
	steps := []struct {
		what           string
		there          bool
		err            error
		found, deleted int
	}{
		{"the first comparison finds it", false, nil, 1, 0},
		{"its Pod exists after all", true, nil, 0, 0},
		{"a first comparison finds it again", false, nil, 1, 0},
		{"the API server is unavailable", false, errors.New("away"), 1, 0},
		{"two comparisons in a row have found it", false, nil, 1, 1},
	}
	for _, step := range steps {
		known.pods[key], known.err = step.there, step.err
		sweep.sweepPods(t.Context())
		assert.Equal(t, float64(step.found), testutil.ToFloat64(sweep.metrics.orphans), step.what)
		assert.Equal(t, float64(step.deleted), testutil.ToFloat64(sweep.metrics.deleted), step.what)
	}
}
