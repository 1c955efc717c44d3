package integration

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// runningOn starts a virtual node with a Pod that is ready, and returns both.
func runningOn(t *testing.T, cloud *cloudtest.Cloud, ns, clusterID string, changes ...func(*Config)) (*running,
	*Config) {
	t.Helper()
	config := settings(t, cloud, nodeName(t))
	config.ClusterID = clusterID
	for _, change := range changes {
		change(config)
	}
	r := start(t, config)
	create(t, ns, podOn(config.Node.Name, config.Node.Name))
	await(t, ns, config.Node.Name, isReady)
	return r, config
}

// abandon stops a virtual node and deletes its Node and Pod, as if the cluster were deleted. The cloud receives no
// request.
func abandon(t *testing.T, r *running, ns, name string) {
	t.Helper()
	r.stop(t)
	require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), name, *metav1.NewDeleteOptions(0)))
	require.NoError(t, trial.Client().CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// inCloud returns the names of the Pods that have a cloud Pod that is not terminating.
func inCloud(t *testing.T, cloud *cloudtest.Cloud) []string {
	t.Helper()
	page, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	names := []string{}
	for i := range page.Items {
		if key, _, ok := identity.OfPod(&page.Items[i]); ok && page.Items[i].DeletionTimestamp == nil {
			names = append(names, key.Name)
		}
	}
	return names
}

func TestCloudPodsOfADeletedNodeAreDeletedByAnother(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	gone, goneConfig := runningOn(t, cloud, ns, "trial")
	still, stillConfig := runningOn(t, cloud, ns, "trial")
	_, otherConfig := runningOn(t, cloud, ns, "other-cluster")
	abandon(t, gone, ns, goneConfig.Node.Name)
	// A node that is only stopped is not a deleted node.
	still.stop(t)
	require.NoError(t,
		trial.Client().CoreV1().Pods(ns).Delete(t.Context(), stillConfig.Node.Name, *metav1.NewDeleteOptions(0)))
	require.Len(t, inCloud(t, cloud), 3)

	sweeper, sweeperConfig := runningOn(t, cloud, ns, "trial",
		func(c *Config) { c.CCI.OrphanInterval.Duration = time.Second })
	left := []string{stillConfig.Node.Name, otherConfig.Node.Name, sweeperConfig.Node.Name}
	eventually(t, func() error {
		if names := inCloud(t, cloud); len(names) != len(left) {
			return fmt.Errorf("the cloud has %v", names)
		}
		return nil
	})
	assert.ElementsMatch(t, left, inCloud(t, cloud))
	awaitNoCopies(t, cloud, goneConfig.Node.Name)
	for _, config := range []*Config{stillConfig, otherConfig, sweeperConfig} {
		assert.Len(t, copiesOf(t, cloud, config.Node.Name), 2, "the token of its Pod, and the cluster's certificate")
	}
	eventually(t, func() error {
		if n := sweeper.metric(t, "spillway_vnode_orphans_ended_total"); n != 1 {
			return fmt.Errorf("%g are counted", n)
		}
		return nil
	})
}

// awaitNoCopies waits until the cloud has no copies of a virtual node.
func awaitNoCopies(t *testing.T, cloud *cloudtest.Cloud, node string) {
	t.Helper()
	eventually(t, func() error {
		if names := copiesOf(t, cloud, node); len(names) > 0 {
			return fmt.Errorf("the cloud has %v of a deleted node", names)
		}
		return nil
	})
}

// copiesOf returns the names of the copies that a virtual node created.
func copiesOf(t *testing.T, cloud *cloudtest.Cloud, node string) []string {
	t.Helper()
	var names []string
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		for name, data := range copies(t, cloud, kind) {
			if data.Annotations[policy.CloudNodeAnnotation] == node {
				names = append(names, name)
			}
		}
	}
	return names
}

// quietly returns a logger that discards everything, and does not change the loggers of the process.
func quietly(logging.Config) (*slog.Logger, error) { return slog.New(slog.DiscardHandler), nil }

// gc runs "vnode gc" and returns what it prints.
func gc(t *testing.T, config *Config, flags ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vnode.yaml")
	require.NoError(t,
		os.WriteFile(file, fmt.Appendf(nil,
			"clusterID: %s\nidentity: %s\nnode: {name: x}\nkube: {kubeconfig: %s}\ncci: {namespace: %s}\n",
			config.ClusterID, config.Identity, config.Kube.Kubeconfig, config.CCI.Namespace), 0o600))
	var out bytes.Buffer
	err := cleanup.GC(t.Context(),
		append([]string{"--config", file, "--cci-endpoint", config.CCI.Endpoint, "--cci-region", "sim-1",
			"--cci-project-id", config.CCI.ProjectID, "--cci-credentials-file", config.CCI.CredentialsFile}, flags...), &out,
		quietly)
	return out.String(), err
}

func TestGCDeletesCloudPodsWithoutAPod(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	gone, goneConfig := runningOn(t, cloud, ns, "trial")
	_, liveConfig := runningOn(t, cloud, ns, "trial")
	_, otherConfig := runningOn(t, cloud, ns, "other-cluster")
	abandon(t, gone, ns, goneConfig.Node.Name)
	all := []string{goneConfig.Node.Name, liveConfig.Node.Name, otherConfig.Node.Name}

	out, err := gc(t, goneConfig, "--dry-run", "--min-age=0s")
	require.NoError(t, err)
	assert.Contains(t, out, goneConfig.Node.Name)
	assert.Contains(t, out, "1 cloud Pods of cluster trial without a Pod found; nothing is deleted in a dry run")
	assert.ElementsMatch(t, all, inCloud(t, cloud))

	out, err = gc(t, goneConfig)
	require.NoError(t, err)
	assert.Contains(t, out, "0 cloud Pods of cluster trial without a Pod deleted; 1 younger than 5m0s skipped.")
	assert.ElementsMatch(t, all, inCloud(t, cloud))

	end := cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Verb: "list"})
	_, err = gc(t, goneConfig, "--min-age=0s")
	require.ErrorContains(t, err, "finding orphans")
	end()

	out, err = gc(t, goneConfig, "--min-age=0s")
	require.NoError(t, err)
	assert.Contains(t, out, "All of them are gone.")
	assert.Contains(t, out, "2 copies of ConfigMaps, Secrets and claims of former virtual nodes deleted.")
	assert.ElementsMatch(t, all[1:], inCloud(t, cloud))
	assert.Empty(t, copiesOf(t, cloud, goneConfig.Node.Name))
	assert.Len(t, copiesOf(t, cloud, liveConfig.Node.Name), 2)
	assert.Len(t, copiesOf(t, cloud, otherConfig.Node.Name), 2)

	absent := *goneConfig
	absent.Kube.Kubeconfig = "nowhere.kubeconfig"
	_, err = gc(t, &absent, "--min-age=0s")
	require.Error(t, err, "an unavailable cluster is not a deleted cluster")
	assert.ElementsMatch(t, all[1:], inCloud(t, cloud))
}

func TestGCWithoutAClusterDeletesAllCloudPodsOfTheCluster(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	first, firstConfig := runningOn(t, cloud, ns, "trial")
	_, otherConfig := runningOn(t, cloud, ns, "other-cluster")
	first.stop(t)
	absent := *firstConfig
	absent.Kube.Kubeconfig = "nowhere.kubeconfig"
	out, err := gc(t, &absent, "--without-cluster", "--min-age=0s")
	require.NoError(t, err)
	assert.Contains(t, out, "1 cloud Pods of cluster trial without a Pod deleted")
	assert.ElementsMatch(t, []string{otherConfig.Node.Name}, inCloud(t, cloud))
	assert.Empty(t, copiesOf(t, cloud, firstConfig.Node.Name))
	assert.Len(t, copiesOf(t, cloud, otherConfig.Node.Name), 2)

	cloud.Fault(t, ccisim.Fault{Kind: ccisim.HoldFinalizer})
	absent.ClusterID = "other-cluster"
	_, err = gc(t, &absent, "--without-cluster", "--min-age=0s", "--timeout=1s")
	require.ErrorContains(t, err, "waiting until 1 cloud Pods are gone")

	absent.CCI.Namespace = "never-made"
	out, err = gc(t, &absent, "--without-cluster")
	require.NoError(t, err)
	assert.Contains(t, out, "there is nothing to delete")
}
