package inventory_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

var owner = identity.Owner{ClusterID: "prod", Node: "virtual-node-cci-0"}

// seen records the changes that an inventory reports.
type seen struct {
	*inventory.Inventory
	registry *prometheus.Registry
	mu       sync.Mutex
	states   map[identity.Key][]inventory.State
}

func run(t *testing.T, cloud *cloudtest.Cloud, change func(*inventory.Config)) *seen {
	t.Helper()
	s := &seen{registry: prometheus.NewRegistry(), states: map[identity.Key][]inventory.State{}}
	config := inventory.Config{
		API: cloud.Client, Namespace: cloudtest.Namespace, Owner: owner,
		WatchTimeout: time.Minute, RelistInterval: time.Hour, MinRetryInterval: 10 * time.Millisecond,
		Now: time.Now, Registerer: s.registry, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	var err error
	s.Inventory, err = inventory.New(config)
	require.NoError(t, err)
	s.OnChange(func(key identity.Key, _ *cci.Pod, state inventory.State) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.states[key] = append(s.states[key], state)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	return s
}

// relists reads how many lists the inventory has made for a cause.
func (s *seen) relists(cause string) int {
	families, err := s.registry.Gather()
	if err != nil {
		return -1
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "spillway_vnode_cloud_lists_total" && metric.GetLabel()[0].GetValue() == cause {
				return int(metric.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func (s *seen) isRunning(key identity.Key) bool {
	pod := s.Get(key)
	return pod != nil && pod.Status.Phase == corev1.PodRunning
}

func (s *seen) last(key identity.Key) inventory.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := s.states[key]
	if len(states) == 0 {
		return -1
	}
	return states[len(states)-1]
}

// makePod creates the cloud Pod of a Pod of an owner.
func makePod(t *testing.T, cloud *cloudtest.Cloud, by identity.Owner, name string) identity.Key {
	t.Helper()
	translator, err := translate.New(translate.Config{Owner: by, DefaultSize: "0.50_1.0"})
	require.NoError(t, err)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}
	result, err := translator.Pod(pod, translate.Cluster{})
	require.NoError(t, err)
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, result.Pod)
	require.NoError(t, err)
	return identity.KeyOf(pod)
}

func deletePod(t *testing.T, cloud *cloudtest.Cloud, key identity.Key) {
	t.Helper()
	options := cci.DeleteOptions{GraceSeconds: new(int64(0))}
	require.NoError(t, cloud.Client.DeletePod(t.Context(), cloudtest.Namespace, identity.CloudName(key), options))
}

func eventually(t *testing.T, condition func() bool, message string) {
	t.Helper()
	require.Eventually(t, condition, cloudtest.Timeout, cloudtest.Tick, message)
}

func TestTheInventoryFollowsItsOwnPods(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	before := makePod(t, cloud, owner, "before")
	makePod(t, cloud, identity.Owner{ClusterID: "other", Node: owner.Node}, "others")
	_, err := cloud.AddImageSnapshotPod(cloudtest.Namespace)
	require.NoError(t, err)
	s := run(t, cloud, nil)
	<-s.Synced()
	assert.NotNil(t, s.Get(before))
	assert.Len(t, s.All(), 1, "the inventory ignores the Pods of other owners")

	after := makePod(t, cloud, owner, "after")
	eventually(t, func() bool { return s.isRunning(after) }, "a new Pod appears with its status")
	deletePod(t, cloud, after)
	eventually(t, func() bool { return s.Get(after) == nil && s.last(after) == inventory.Gone },
		"a deleted Pod disappears")
	assert.NoError(t, s.Err())
	assert.Equal(t, 1, s.relists("start"))
}

func TestTheInventoryContinuesAfterEveryInterruption(t *testing.T) {
	cases := map[string]struct {
		cut   func(*cloudtest.Cloud)
		cause string
	}{
		"a proper end":              {func(c *cloudtest.Cloud) { c.CutWatches(false) }, ""},
		"a cut connection":          {func(c *cloudtest.Cloud) { c.CutWatches(true) }, ""},
		"a version that is too old": {func(c *cloudtest.Cloud) { c.Compact(); c.CutWatches(false) }, "expired"},
	}
	for name, tc := range cases {
		for answer, asStatus := range map[string]bool{"": false, ", reported as a status": true} {
			t.Run(name+answer, func(t *testing.T) {
				t.Parallel()
				cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies.GoneAsStatus = asStatus })
				s := run(t, cloud, nil)
				<-s.Synced()
				for i := range 3 {
					tc.cut(cloud)
					key := makePod(t, cloud, owner, fmt.Sprintf("p-%d", i))
					eventually(t, func() bool { return s.isRunning(key) }, "a Pod that is created after the cut appears")
				}
				assert.Len(t, s.All(), 3)
				if tc.cause != "" {
					assert.Positive(t, s.relists(tc.cause))
				}
			})
		}
	}
}

func TestFailingWatchesCauseAList(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	s := run(t, cloud, func(c *inventory.Config) { c.MinRetryInterval = time.Millisecond })
	<-s.Synced()
	off := cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "watch", Status: 500})
	cloud.CutWatches(false)
	eventually(t, func() bool { return s.relists("cut") > 0 }, "the Pods are listed")
	eventually(t, func() bool { return s.Err() != nil }, "Err reports why the inventory is not up to date")
	key := makePod(t, cloud, owner, "p")
	eventually(t, func() bool { return s.Get(key) != nil }, "lists find the Pod while watches fail")
	off()
	eventually(t, func() bool { return s.Err() == nil }, "the error is cleared")
}

func TestListsFindChangesThatAWatchHasLost(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	s := run(t, cloud, func(c *inventory.Config) {
		c.RelistInterval, c.WatchTimeout = 50*time.Millisecond, time.Second
	})
	<-s.Synced()
	ghost := &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ghost", UID: "x", Annotations: map[string]string{
		policy.CloudClusterKey: owner.ClusterID, policy.CloudNodeAnnotation: owner.Node,
		policy.CloudNamespaceAnnotation: "default", policy.CloudNameAnnotation: "ghost", policy.CloudUIDAnnotation: "u",
	}}}
	key, ours := owner.Owns(ghost)
	require.True(t, ours)
	s.Put(ghost)
	assert.NotNil(t, s.Get(key))
	eventually(t, func() bool { return s.Get(key) == nil && s.last(key) == inventory.Missing },
		"a Pod that a list does not contain is reported as missing, not as gone")
	assert.Positive(t, s.relists("interval"))
}

func TestAnIncompleteListChangesNothing(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	key := makePod(t, cloud, owner, "p")
	s := run(t, cloud, nil)
	<-s.Synced()
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.HalfBody, Verb: "list"})
	cloud.Compact()
	cloud.CutWatches(true)
	eventually(t, func() bool { return s.Err() != nil }, "the list fails")
	assert.NotNil(t, s.Get(key))
	assert.NotEqual(t, inventory.Missing, s.last(key))
}

func TestPutAndDropRespectTheUID(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	key := makePod(t, cloud, owner, "p")
	s := run(t, cloud, nil)
	eventually(t, func() bool { return s.isRunning(key) }, "the Pod runs")
	known := s.Get(key)
	late := *known
	late.Status = corev1.PodStatus{Phase: corev1.PodPending}
	s.Put(&late)
	assert.Equal(t, corev1.PodRunning, s.Get(key).Status.Phase,
		"the response to a create is older than the Pod from the watch")
	other := *known
	other.UID = "other"
	s.Drop(key, &other)
	assert.NotNil(t, s.Get(key), "the Pod that is gone has another UID")
	s.Drop(key, known)
	assert.Nil(t, s.Get(key))
	stranger := *known
	stranger.Annotations = nil
	s.Put(&stranger)
	assert.Empty(t, s.All())
}

func TestConfigErrorsAreReported(t *testing.T) {
	_, err := inventory.New(inventory.Config{})
	assert.ErrorContains(t, err, "must be given")
	_, err = inventory.New(inventory.Config{
		API: &cci.Client{}, Namespace: "n", Now: time.Now, Logger: slog.Default(),
	})
	assert.ErrorContains(t, err, "above zero")
}
