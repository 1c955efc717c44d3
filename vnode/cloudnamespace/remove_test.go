package cloudnamespace_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// put creates a ConfigMap and a Secret in the namespace. They belong to a cluster, or to others if clusterID is empty.
func put(t *testing.T, cloud *cloudtest.Cloud, clusterID string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "theirs"}
	if clusterID != "" {
		meta = metav1.ObjectMeta{
			Name: "of-" + clusterID, Annotations: map[string]string{policy.CloudClusterKey: clusterID},
		}
	}
	for _, data := range []cci.Data{
		{Kind: cci.ConfigMap, ObjectMeta: meta}, {Kind: cci.Secret, ObjectMeta: meta, Type: corev1.SecretTypeOpaque},
	} {
		_, err := cloud.Client.CreateData(t.Context(), cloudtest.Namespace, &data)
		require.NoError(t, err)
	}
}

func exists(t *testing.T, cloud *cloudtest.Cloud) bool {
	t.Helper()
	_, err := cloud.Client.GetNamespace(t.Context(), cloudtest.Namespace)
	if !cci.IsNotFound(err) {
		require.NoError(t, err)
	}
	return err == nil
}

func TestRemoveDeletesOnlyAnUnusedNamespaceOfTheCluster(t *testing.T) {
	ensure := func(t *testing.T, cloud *cloudtest.Cloud) {
		t.Helper()
		require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), slog.New(slog.DiscardHandler)))
	}
	ensureAndPut := func(clusterID string) func(*testing.T, *cloudtest.Cloud) {
		return func(t *testing.T, c *cloudtest.Cloud) {
			t.Helper()
			ensure(t, c)
			put(t, c, clusterID)
		}
	}
	for name, test := range map[string]struct {
		before func(*testing.T, *cloudtest.Cloud)
		dryRun bool
		kept   string
		exists bool
	}{
		"an empty one is deleted":                    {before: ensure},
		"one with objects of the cluster is deleted": {before: ensureAndPut("prod")},
		"one that does not exist needs no deletion":  {before: func(*testing.T, *cloudtest.Cloud) {}},
		"a dry run deletes nothing":                  {before: ensure, dryRun: true, exists: true},
		"one with objects of others is kept": {before: ensureAndPut(""),
			kept: "it contains 2 objects of others: configmaps theirs, secrets theirs", exists: true},
		"one with objects of another cluster is kept": {before: ensureAndPut("test"),
			kept: "it contains 2 objects of others: configmaps of-test, secrets of-test", exists: true},
		"one that others created is kept": {
			before: func(t *testing.T, c *cloudtest.Cloud) { c.CreateCloudNamespace(t) },
			kept:   "it was created by another user or program", exists: true},
		"one in which the service creates an image snapshot is kept": {before: func(t *testing.T, c *cloudtest.Cloud) {
			ensure(t, c)
			_, err := c.AddImageSnapshotPod(cloudtest.Namespace)
			require.NoError(t, err)
		}, kept: "it contains 1 objects of others: pods cci-imagesnapshot-", exists: true},
		"one that another cluster created is kept": {before: func(t *testing.T, c *cloudtest.Cloud) {
			other := config()
			other.ClusterID = "test"
			require.NoError(t, cloudnamespace.Ensure(t.Context(), c.Client, other, slog.New(slog.DiscardHandler)))
		}, kept: "it was created by cluster test", exists: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			test.before(t, cloud)
			kept, err := cloudnamespace.Remove(t.Context(), cloud.Client, cloudnamespace.Removal{
				Namespace: cloudtest.Namespace, ClusterID: "prod", DryRun: test.dryRun, Poll: time.Millisecond,
			})
			require.NoError(t, err)
			if test.kept == "" {
				assert.Empty(t, kept)
			}
			assert.Contains(t, kept, test.kept)
			assert.Equal(t, test.exists, exists(t, cloud))
		})
	}
}

func TestRemoveWithCCI1(t *testing.T) {
	cloud := cloudtest.New(t).In(t, policy.CCI1)
	c := config()
	c.VPCID, c.NetworkID = "vpc", "neutron"
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, slog.New(slog.DiscardHandler)))
	removal := cloudnamespace.Removal{Namespace: cloudtest.Namespace, ClusterID: "prod", Poll: time.Millisecond}
	put(t, cloud, "test")
	kept, err := cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.NoError(t, err)
	assert.Equal(t, "it contains 2 objects of others: configmaps of-test, secrets of-test", kept)
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		require.NoError(t, cloud.Client.DeleteData(t.Context(), cloudtest.Namespace, kind, "of-test", cci.DeleteOptions{}))
	}
	kept, err = cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.NoError(t, err)
	assert.Empty(t, kept)
	assert.False(t, exists(t, cloud))
}

// A proxy may answer 404 for claims of others. Only the service itself can say that the region has none.
func TestRemoveDeletesNothingThatItCannotSee(t *testing.T) {
	for name, test := range map[string]struct {
		policies ccisim.Policies
		fault    ccisim.Fault
		kept     string
	}{
		"the gateway does not know claims": {
			policies: ccisim.Policies{Unpublished: []string{"persistentvolumeclaims"}},
		},
		"the API server does not know claims": {policies: ccisim.Policies{NoVolumes: true, BareErrors: true}},
		"a page says 404": {
			fault: ccisim.Fault{
				Kind: ccisim.ServerError, Status: 404, HTML: true, Message: "404 page not found", Path: "/persistentvolumeclaims$",
			},
			kept: "it may contain objects of others: listing persistentvolumeclaims of cloud namespace " + cloudtest.Namespace +
				": the cloud answered 404",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies = test.policies })
			require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), slog.New(slog.DiscardHandler)))
			if test.fault.Kind != "" {
				cloud.Fault(t, test.fault)
			}
			kept, err := cloudnamespace.Remove(t.Context(), cloud.Client, cloudnamespace.Removal{
				Namespace: cloudtest.Namespace, ClusterID: "prod", Poll: time.Millisecond,
			})
			require.NoError(t, err)
			assert.Equal(t, test.kept != "", exists(t, cloud), kept)
			assert.Contains(t, kept, test.kept)
		})
	}
}

// Remove keeps a namespace whose contents are unknown, and does not wait forever for its deletion.
func TestRemoveReportsErrors(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.FinalizerDelay = time.Hour })
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), slog.New(slog.DiscardHandler)))
	removal := cloudnamespace.Removal{Namespace: cloudtest.Namespace, ClusterID: "prod", Poll: time.Millisecond}

	lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Path: "/secrets$"})
	_, err := cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.ErrorContains(t, err, "listing secrets of cloud namespace "+cloudtest.Namespace)
	assert.True(t, exists(t, cloud))
	lift()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := cloudnamespace.Remove(ctx, cloud.Client, removal)
		ended <- err
	}()
	require.Eventually(t, func() bool { return cloud.CountRequests("delete", "namespaces", 200) == 1 },
		cloudtest.Timeout, cloudtest.Tick)
	reads := cloud.CountRequests("get", "namespaces", 200)
	require.Eventually(t, func() bool { return cloud.CountRequests("get", "namespaces", 200) > reads },
		cloudtest.Timeout, cloudtest.Tick, "it waits")
	cancel()
	err = <-ended
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "waiting until cloud namespace "+cloudtest.Namespace+" is gone")
}
