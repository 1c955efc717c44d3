package cleanup

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
	"k8s.io/client-go/kubernetes/fake"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// keys writes the keys of the simulated account to a file.
func keys(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials.yaml")
	require.NoError(t, os.WriteFile(file,
		fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n", cloudtest.Account.AccessKey, secret), 0o600))
	return file
}

func TestGCWithoutAClusterDeletesAllCloudPods(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	put(t, cloud, "web-0")
	args := []string{
		"--without-cluster", "--min-age=0s", "--cluster-id=prod", "--cci-namespace", cloudtest.Namespace,
		"--cci-region=sim-1",
		"--cci-project-id", cloudtest.Account.ProjectID, "--cci-endpoint", cloud.URL, "--cci-credentials-file",
	}
	var out bytes.Buffer
	err := GC(t.Context(), append(args, keys(t, "wrong")), &out, quietly)
	require.ErrorContains(t, err, "finding orphans: listing cloud pods of cci-test: the cloud answered 401")
	assert.Empty(t, out.String())

	require.NoError(t, GC(t.Context(), append(args, keys(t, cloudtest.Account.SecretKey)), &out, quietly))
	assert.Contains(t, out.String(), "1 cloud Pods of cluster prod without a Pod deleted; 0 younger than 0s skipped.\n")
	list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, list.Items)
}

func TestGCReadsTheClusterUnlessItIsGone(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	put(t, cloud, "web-0")
	err := GC(t.Context(), []string{
		"--min-age=0s", "--cluster-id=prod", "--cci-namespace", cloudtest.Namespace, "--cci-region=sim-1", "--cci-project-id",
		cloudtest.Account.ProjectID, "--cci-endpoint", cloud.URL, "--cci-credentials-file",
		keys(t, cloudtest.Account.SecretKey), "--kubeconfig=nowhere.kubeconfig",
	}, &bytes.Buffer{}, quietly)
	require.ErrorContains(t, err, "nowhere.kubeconfig")
	list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, list.Items, 1, "a cluster that cannot be read is not gone")
}

// newUninstaller returns one run of "vnode uninstall" between a cluster with a virtual node and a simulated cloud.
func newUninstaller(cloud *cloudtest.Cloud, credentials string) (*uninstaller, *fake.Clientset, *bytes.Buffer) {
	cleaner, client, out := clusterOf(node("ours", "prod"), pod("web-0", "ours"), pod("local", "local"))
	cfg := &uninstallConfig{Config: *config.Default(), Programs: "app=spillway", Cloud: true, Timeout: time.Minute}
	cfg.ClusterID, cfg.CCI.Namespace, cfg.CCI.Region = "prod", cloudtest.Namespace, "sim-1"
	cfg.CCI.ProjectID, cfg.CCI.Endpoint, cfg.CCI.CredentialsFile = cloudtest.Account.ProjectID, cloud.URL, credentials
	u := &uninstaller{config: cfg, cluster: cleaner, out: out, logger: slog.New(slog.DiscardHandler)}
	return u, client, out
}

func TestUninstallDeletesNodesThenCloudPodsThenPods(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	put(t, cloud, "web-0")
	u, client, out := newUninstaller(cloud, keys(t, cloudtest.Account.SecretKey))
	require.NoError(t, u.run(t.Context()))
	assert.Regexp(t, `(?s)^None of Spillway's programs is running\.
Virtual node ours deleted\.
1 Pods on virtual nodes deleted\.
CLOUD POD .*
1 cloud Pods of cluster prod without a Pod deleted; 0 younger than 0s skipped\.
All of them are gone\.
0 copies of ConfigMaps, Secrets and claims of former virtual nodes deleted\.
Cloud namespace cci-test is kept: it was created by another user or program\.
Nothing of Spillway remains\.
$`, out.String())
	assert.Equal(t, "local", podNames(t, client))
}

func TestUninstallCompletesTheOtherStepsIfTheCloudRejectsTheKey(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	put(t, cloud, "web-0")
	u, client, out := newUninstaller(cloud, keys(t, "wrong"))
	require.ErrorContains(t, u.run(t.Context()),
		"uninstalling Spillway: in cloud namespace cci-test objects of cluster prod")
	assert.Equal(t, "local", podNames(t, client))
	assert.Contains(t, out.String(), "What remains:\n- in cloud namespace cci-test objects of cluster prod, "+
		"which may include Pods that are billed: finding orphans: listing cloud pods of cci-test: the cloud answered 401")
	assert.Contains(t, out.String(), "even after the cluster is gone:\nvnode gc --without-cluster")
}

func TestUninstallCanLeaveTheCloud(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	put(t, cloud, "web-0")
	u, _, out := newUninstaller(cloud, "nowhere.yaml")
	u.config.Cloud = false
	require.NoError(t, u.run(t.Context()))
	assert.NotContains(t, out.String(), "cloud Pods")
	list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, list.Items, 1)
}
