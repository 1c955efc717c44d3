package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// uninstall runs "vnode uninstall" with its permissions in the chart, and returns its output.
func uninstall(t *testing.T, config *Config, flags ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vnode.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "clusterID: %s\nkube: {kubeconfig: %s}\ncci: {namespace: %s}\n",
		config.ClusterID, trialFile("uninstall.kubeconfig"), config.CCI.Namespace), 0o600))
	var out bytes.Buffer
	err := cleanup.Uninstall(t.Context(), append([]string{"--config", file, "--cci-endpoint", config.CCI.Endpoint,
		"--cci-region", "sim-1", "--cci-project-id", config.CCI.ProjectID,
		"--cci-credentials-file", config.CCI.CredentialsFile, "--programs", "spillway-of=" + config.ClusterID}, flags...),
		&out, quietly)
	return out.String(), err
}

// nothingToUninstall is the output if nothing of Spillway exists.
const nothingToUninstall = "None of Spillway's programs is running.\n" +
	"Cloud namespace cci-test does not exist: there is nothing to delete.\nNothing of Spillway remains.\n"

// standIn creates a Pod that stands for one of Spillway's programs. Its label names the cluster ID, because the tests
// share a cluster. It is never scheduled.
func standIn(t *testing.T, clusterID string) *corev1.Pod {
	t.Helper()
	pod := podOn("", "stand-in-"+clusterID)
	pod.Labels = map[string]string{"spillway-of": clusterID}
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/never"}}
	return create(t, system.ProgramNamespace, pod)
}

// hasNode reports whether the cluster has a Node or the Lease of its heartbeat.
func hasNode(t *testing.T, name string) bool {
	t.Helper()
	_, nodeErr := trial.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	_, leaseErr := trial.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name,
		metav1.GetOptions{})
	for _, err := range []error{nodeErr, leaseErr} {
		if !apierrors.IsNotFound(err) {
			require.NoError(t, err)
		}
	}
	return nodeErr == nil || leaseErr == nil
}

func hasCloudNamespace(t *testing.T, cloud *cloudtest.Cloud) bool {
	t.Helper()
	_, err := cloud.Client.GetNamespace(t.Context(), cloudtest.Namespace)
	if !cci.IsNotFound(err) {
		require.NoError(t, err)
	}
	return err == nil
}

func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	first, firstConfig := runningOn(t, cloud, ns, "leaves", func(c *Config) {
		c.TLSCertFile, c.TLSPrivateKeyFile, c.CertificateDir = "", "", t.TempDir()
	})
	second, secondConfig := runningOn(t, cloud, ns, "leaves")
	nodes := []string{firstConfig.Node.Name, secondConfig.Node.Name}
	eventually(t, func() error {
		if len(requestsFor(t, nodes[0])) == 0 {
			return errors.New("the node has not asked for a certificate yet")
		}
		return nil
	})
	first.stop(t)
	second.stop(t)

	out, err := uninstall(t, firstConfig)
	require.NoError(t, err, out)
	for _, want := range []string{
		"None of Spillway's programs is running.", "Virtual node " + nodes[0] + " deleted.", "Virtual node " + nodes[1] +
			" deleted.",
		"1 CertificateSigningRequests deleted.", "2 Pods on virtual nodes deleted.",
		"2 cloud Pods of cluster leaves without a Pod deleted; 0 younger than 0s skipped.",
		"All of them are gone.", "4 copies of ConfigMaps, Secrets and claims of former virtual nodes deleted.",
		"Cloud namespace cci-test deleted.",
	} {
		assert.Contains(t, out, want+"\n")
	}
	assert.Regexp(t, `Nothing of Spillway remains\.\n$`, out)
	assert.False(t, hasCloudNamespace(t, cloud))
	assert.Empty(t, requestsFor(t, nodes[0]))
	eventually(t, func() error { // The garbage collector takes the Leases, and the API server the Pods.
		pods, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) > 0 || hasNode(t, nodes[0]) || hasNode(t, nodes[1]) {
			return fmt.Errorf("%d Pods and perhaps a node or its Lease are left: %w", len(pods.Items), err)
		}
		return nil
	})

	out, err = uninstall(t, firstConfig)
	require.NoError(t, err, "it may be run again")
	assert.Equal(t,
		nothingToUninstall, out)
}

func TestUninstallChangesNothingOfOthers(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	mine, config := runningOn(t, cloud, ns, "goes")
	_, otherConfig := runningOn(t, cloud, ns, "stays")
	foreign := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(t),
		Labels: map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}}}
	_, err := trial.Client().CoreV1().Nodes().Create(t.Context(), foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = trial.Client().CoreV1().Nodes().Delete(t.Context(), foreign.Name, metav1.DeleteOptions{}) })
	mine.stop(t)

	out, err := uninstall(t, config)
	require.NoError(t, err, out)
	assert.Contains(t, out, "1 cloud Pods of cluster goes without a Pod deleted")
	assert.Contains(t, out, "Cloud namespace cci-test is kept: it contains 3 objects of others: ")
	assert.Equal(t, []string{otherConfig.Node.Name}, inCloud(t, cloud))
	assert.Len(t, copiesOf(t, cloud, otherConfig.Node.Name), 2)
	assert.True(t, hasNode(t, otherConfig.Node.Name))
	assert.True(t, hasNode(t, foreign.Name))
	assert.NoError(t, isReady(get(t, ns, otherConfig.Node.Name)))
}

// A controller creates its Pod again without the marker, because the webhook no longer exists. The test does not run in
// parallel, because its Pods affect every other uninstall.
func TestUninstallReplacesPodsThatNoSchedulerWouldPlace(t *testing.T) {
	cloud := cloudtest.New(t)
	ns := namespace(t)
	marked := func(name string, marked bool) *corev1.Pod {
		pod := podOn("", name)
		if marked {
			mark := corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
			pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: mark, Limits: mark}
		}
		return pod
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: marked("", true).ObjectMeta, Spec: marked("", true).Spec},
	}}
	deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = nil
	_, err := trial.Client().AppsV1().Deployments(ns).Create(t.Context(), deployment, metav1.CreateOptions{})
	require.NoError(t, err)
	create(t, ns, marked("waits", false))
	waiting := func() (names map[string]bool) {
		list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		names = map[string]bool{}
		for _, pod := range list.Items {
			names[pod.Name] = pod.DeletionTimestamp == nil
		}
		return names
	}
	eventually(t, func() error {
		if len(waiting()) != 2 {
			return errors.New("the Deployment has not created its Pod yet")
		}
		return nil
	})
	before := waiting()
	config := settings(t, cloud, nodeName(t))
	config.ClusterID = "replaces"

	out, err := uninstall(t, config)
	require.NoError(t, err, out)
	assert.Contains(t, out,
		"1 waiting Pods deleted that only Spillway's scheduler could place: their controllers create them again.\n")
	eventually(t, func() error {
		now := waiting()
		for name := range before {
			if (name == "waits") != now[name] {
				return fmt.Errorf("%v are there, %v were", now, before)
			}
		}
		return nil
	})

	require.NoError(t, trial.Client().AppsV1().Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}))
	create(t, ns, marked("alone", true))
	out, err = uninstall(t, config)
	require.Error(t, err)
	assert.Contains(t, out, "- 1 waiting Pods without a controller that no scheduler can place, such as "+ns+"/alone\n")
	assert.NotContains(t, out, "vnode gc", "nothing is in the cloud")
	assert.True(t, waiting()["alone"])
	remove(t, ns, "alone")
}

// It must end in any case and report what remains, because Helm waits for it.
func TestUninstallEndsAndReportsWhatRemains(t *testing.T) {
	t.Parallel()
	const command = "\nvnode gc --without-cluster --min-age=0s --cluster-id=%s --cci-namespace=cci-test " +
		"--cci-region=sim-1 --cci-project-id=project --cci-endpoint=%s --cci-credentials-file=FILE\n"
	for name, test := range map[string]struct {
		id string
		// spoil breaks something that uninstall needs, and returns the function that repairs it.
		spoil func(*testing.T, *cloudtest.Cloud, *Config) func()
		want  string
	}{
		"the key is rejected": {"wrong-key", func(t *testing.T, _ *cloudtest.Cloud, c *Config) func() {
			right, err := os.ReadFile(c.CCI.CredentialsFile)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(c.CCI.CredentialsFile, []byte("accessKey: AK\nsecretKey: wrong\n"), 0o600))
			return func() { require.NoError(t, os.WriteFile(c.CCI.CredentialsFile, right, 0o600)) }
		}, "- in cloud namespace cci-test objects of cluster wrong-key, which may include Pods that are billed: " +
			"finding orphans: listing cloud pods of cci-test: the cloud answered 401"},
		"the file of the key is missing": {"no-key", func(_ *testing.T, _ *cloudtest.Cloud, c *Config) func() {
			file := c.CCI.CredentialsFile
			c.CCI.CredentialsFile = "nowhere.yaml"
			return func() { c.CCI.CredentialsFile = file }
		}, "- in cloud namespace cci-test objects of cluster no-key, which may include Pods that are billed: " +
			"reading the cloud credentials: stat nowhere.yaml"},
		"the cloud does not remove Pods": {"held", func(t *testing.T, cloud *cloudtest.Cloud, _ *Config) func() {
			return cloud.Fault(t, ccisim.Fault{Kind: ccisim.HoldFinalizer})
		}, "which may include Pods that are billed: waiting until 1 cloud Pods are gone"},
		"the cloud is unavailable": {"silent", func(t *testing.T, cloud *cloudtest.Cloud, _ *Config) func() {
			return cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 503})
		}, "which may include Pods that are billed: finding orphans: listing cloud pods of cci-test: the cloud answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			ns := namespace(t)
			r, config := runningOn(t, cloud, ns, test.id)
			r.stop(t)
			help := test.spoil(t, cloud, config)
			started := time.Now()
			out, err := uninstall(t, config, "--timeout=30s")
			require.ErrorContains(t, err, "uninstalling Spillway")
			assert.Less(t, time.Since(started), 35*time.Second)
			assert.Contains(t, out, "Virtual node "+config.Node.Name+" deleted.\n", "the rest is deleted")
			assert.Contains(t, out, "What remains:\n"+"- in cloud")
			assert.Contains(t, out, test.want)
			assert.Contains(t, out, fmt.Sprintf(command, test.id, cloud.URL))
			awaitGone(t, ns, config.Node.Name)

			help()
			require.True(t, hasCloudNamespace(t, cloud))
			absent := *config
			absent.Kube.Kubeconfig = "nowhere.kubeconfig"
			out, err = gc(t, &absent, "--without-cluster", "--min-age=0s")
			require.NoError(t, err, out)
			assert.False(t, hasCloudNamespace(t, cloud), out)
		})
	}
}

// A running program would create again what is deleted.
func TestUninstallWaitsForThePrograms(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	config := settings(t, cloud, nodeName(t))
	config.ClusterID = "waits"
	pod := standIn(t, config.ClusterID)
	out, err := uninstall(t, config, "--timeout=30s")
	require.Error(t, err)
	assert.Contains(t, out,
		"- 1 Pods of Spillway's programs in namespace spillway-system, such as "+pod.Name+", which have not stopped\n")
	assert.Contains(t, out, "Cloud namespace cci-test does not exist", "the other steps run")

	ended := make(chan string, 1)
	go func() {
		out, err := uninstall(t, config)
		ended <- fmt.Sprint(out, err)
	}()
	select {
	case out := <-ended:
		t.Fatal("it did not wait: " + out)
	case <-time.After(2 * time.Second):
	}
	require.NoError(t,
		trial.Client().CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0)))
	assert.Contains(t, <-ended,
		nothingToUninstall)
}

func TestUninstallCanKeepTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	r, config := runningOn(t, cloud, ns, "simulated")
	r.stop(t)
	out, err := uninstall(t, config, "--cloud=false")
	require.NoError(t, err)
	assert.Equal(t,
		"None of Spillway's programs is running.\nVirtual node "+config.Node.Name+" deleted.\n"+
			"1 Pods on virtual nodes deleted.\nNothing of Spillway remains.\n", out)
	awaitGone(t, ns, config.Node.Name)
	assert.True(t, hasCloudNamespace(t, cloud))
}
