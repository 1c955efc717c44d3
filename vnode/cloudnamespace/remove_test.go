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

// put makes a ConfigMap, a Secret and a claim in the namespace, of a cluster or, where that is empty, of somebody else.
func put(t *testing.T, cloud *cloudtest.Cloud, clusterID string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "theirs"}
	if clusterID != "" {
		meta = metav1.ObjectMeta{Name: "of-" + clusterID, Annotations: map[string]string{policy.CloudClusterKey: clusterID}}
	}
	for _, data := range []cci.Data{{Kind: cci.ConfigMap, ObjectMeta: meta}, {Kind: cci.Secret, ObjectMeta: meta, Type: corev1.SecretTypeOpaque}} {
		_, err := cloud.Client.CreateData(t.Context(), cloudtest.Namespace, &data)
		require.NoError(t, err)
	}
}

func isThere(t *testing.T, cloud *cloudtest.Cloud) bool {
	t.Helper()
	_, err := cloud.Client.GetNamespace(t.Context(), cloudtest.Namespace)
	if !cci.IsNotFound(err) {
		require.NoError(t, err)
	}
	return err == nil
}

func TestOnlyANamespaceOfOursThatNobodyUsesIsRemoved(t *testing.T) {
	made := func(t *testing.T, cloud *cloudtest.Cloud) {
		t.Helper()
		require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), slog.New(slog.DiscardHandler)))
	}
	for name, test := range map[string]struct {
		before func(*testing.T, *cloudtest.Cloud)
		dryRun bool
		kept   string
		there  bool
	}{
		"an empty one goes":                             {before: made},
		"one with things of the cluster goes with them": {before: func(t *testing.T, c *cloudtest.Cloud) { made(t, c); put(t, c, "prod") }},
		"one that is not there is gone":                 {before: func(*testing.T, *cloudtest.Cloud) {}},
		"a dry run removes nothing":                     {before: made, dryRun: true, there: true},
		"one that people use stays":                     {before: func(t *testing.T, c *cloudtest.Cloud) { made(t, c); put(t, c, "") }, kept: "it holds 2 things of others: configmaps theirs, secrets theirs", there: true},
		"one that another cluster uses stays":           {before: func(t *testing.T, c *cloudtest.Cloud) { made(t, c); put(t, c, "test") }, kept: "it holds 2 things of others: configmaps of-test, secrets of-test", there: true},
		"one that somebody else has made stays":         {before: func(t *testing.T, c *cloudtest.Cloud) { c.CreateCloudNamespace(t) }, kept: "it was made by somebody else", there: true},
		"one where the service makes an image snapshot stays": {before: func(t *testing.T, c *cloudtest.Cloud) {
			made(t, c)
			_, err := c.AddImageSnapshotPod(cloudtest.Namespace)
			require.NoError(t, err)
		}, kept: "it holds 1 things of others: pods cci-imagesnapshot-", there: true},
		"one that another cluster has made stays": {before: func(t *testing.T, c *cloudtest.Cloud) {
			other := config()
			other.ClusterID = "test"
			require.NoError(t, cloudnamespace.Ensure(t.Context(), c.Client, other, slog.New(slog.DiscardHandler)))
		}, kept: "it was made by cluster test", there: true},
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
			assert.Equal(t, test.there, isThere(t, cloud))
		})
	}
}

func TestANamespaceOfTheFirstGenerationIsRemoved(t *testing.T) {
	cloud := cloudtest.New(t).In(t, policy.CCI1)
	c := config()
	c.VPCID, c.NetworkID = "vpc", "neutron"
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, slog.New(slog.DiscardHandler)))
	removal := cloudnamespace.Removal{Namespace: cloudtest.Namespace, ClusterID: "prod", Poll: time.Millisecond}
	put(t, cloud, "test")
	kept, err := cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.NoError(t, err)
	assert.Equal(t, "it holds 2 things of others: configmaps of-test, secrets of-test", kept)
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		require.NoError(t, cloud.Client.DeleteData(t.Context(), cloudtest.Namespace, kind, "of-test", cci.DeleteOptions{}))
	}
	kept, err = cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.NoError(t, err)
	assert.Empty(t, kept)
	assert.False(t, isThere(t, cloud))
}

// What is not known is not removed, and what does not go is not waited for without end.
func TestRemovingANamespaceFailsWithWords(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.FinalizerDelay = time.Hour })
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), slog.New(slog.DiscardHandler)))
	removal := cloudnamespace.Removal{Namespace: cloudtest.Namespace, ClusterID: "prod", Poll: time.Millisecond}

	lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Path: "/secrets$"})
	_, err := cloudnamespace.Remove(t.Context(), cloud.Client, removal)
	require.ErrorContains(t, err, "listing secrets of cloud namespace "+cloudtest.Namespace)
	assert.True(t, isThere(t, cloud))
	lift()

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = cloudnamespace.Remove(ctx, cloud.Client, removal)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "waiting until cloud namespace "+cloudtest.Namespace+" is gone")
}
