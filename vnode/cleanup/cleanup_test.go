package cleanup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

func quietly(logging.Config) (*slog.Logger, error) { return slog.New(slog.DiscardHandler), nil }

func TestGCRejectsInvalidConfigurations(t *testing.T) {
	args := []string{
		"--cluster-id=longer-than-sixteen-characters", "--min-age=-1s", "--cci-namespace=UPPER", "--timeout=1ms",
	}
	err := GC(t.Context(), args, &bytes.Buffer{}, quietly)
	require.ErrorIs(t, err, run.ErrUsage)
	for _, want := range []string{
		"clusterID", `min-age: Invalid value: "-1s"`, `cci.namespace: Invalid value: "UPPER"`, "cci.region",
		"cci.projectID",
		"cci.credentialsFile", `timeout: Invalid value: "1ms": must be 1s or more`,
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.False(t, errors.Is(GC(t.Context(), []string{"--help"}, &bytes.Buffer{}, quietly), run.ErrUsage))
}

func TestUninstallRejectsInvalidConfigurations(t *testing.T) {
	args := []string{
		"--programs=!!", "--timeout=1s", "--leader-election-namespace=", "--scheduler=default-scheduler",
	}
	err := Uninstall(t.Context(), args, &bytes.Buffer{}, quietly)
	require.ErrorIs(t, err, run.ErrUsage)
	for _, want := range []string{
		"clusterID", `programs: Invalid value: "!!": must be a label selector`,
		`scheduler: Invalid value: "default-scheduler": must be a scheduler that was installed with Spillway`,
		`timeout: Invalid value: "1s": must be 30s or more`,
		"leaderElectionNamespace", "cci.namespace", "cci.credentialsFile",
	} {
		assert.ErrorContains(t, err, want)
	}
}

// put creates a cloud Pod of the cluster "prod" that stands for a Pod.
func put(t *testing.T, cloud *cloudtest.Cloud, name string) {
	t.Helper()
	key := identity.Key{Namespace: "ns", Name: name, UID: "1"}
	meta := metav1.ObjectMeta{Name: identity.CloudName(key)}
	identity.Owner{ClusterID: "prod", Node: "virtual"}.Mark(&meta, key)
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

func newCloudCleaner(cloud *cloudtest.Cloud, out *bytes.Buffer) *cloudCleaner {
	return &cloudCleaner{
		finder: &orphans.Finder{
			Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "prod", Terminating: true, Snapshots: true,
		},
		namespace: true, poll: time.Millisecond, now: time.Now, out: out,
	}
}

func TestTheCloudIsCleaned(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cloudCleaner)
		want   []string
		// left is the number of cloud Pods that remain.
		left int
	}{
		"cloud Pods without a Pod are deleted": {func(*cloudCleaner) {}, []string{
			"2 cloud Pods of cluster prod without a Pod deleted; 0 younger than 0s skipped.", "All of them are gone.",
			"0 copies of ConfigMaps, Secrets and claims of former virtual nodes deleted.",
			"Cloud namespace cci-test is kept: it was created by another user or program.",
		}, 0},
		"a dry run deletes nothing": {func(c *cloudCleaner) { c.dryRun = true }, []string{
			"2 cloud Pods of cluster prod without a Pod found; nothing is deleted in a dry run;",
			"0 copies of ConfigMaps, Secrets and claims of former virtual nodes found",
		}, 2},
		"young cloud Pods are skipped, and keep it": {func(c *cloudCleaner) { c.minAge = time.Hour }, []string{
			"0 cloud Pods of cluster prod without a Pod deleted; 2 younger than 1h0m0s skipped.",
			"Cloud namespace cci-test is kept for the Pods that were skipped.",
		}, 2},
		"cloud Pods that are old by now are deleted": {func(c *cloudCleaner) {
			c.minAge, c.now = time.Hour, func() time.Time { return time.Now().Add(2 * time.Hour) }
		}, []string{"2 cloud Pods of cluster prod without a Pod deleted; 0 younger than 1h0m0s skipped."}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.NewWithNetwork(t)
			put(t, cloud, "web-0")
			put(t, cloud, "web-1")
			var out bytes.Buffer
			cleaner := newCloudCleaner(cloud, &out)
			test.change(cleaner)
			require.NoError(t, cleaner.clean(t.Context()))
			for _, want := range test.want {
				assert.Contains(t, out.String(), want)
			}
			list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
			require.NoError(t, err)
			assert.Len(t, list.Items, test.left)
		})
	}
}

// The Pod that makes a snapshot is in the cloud namespace, which is deleted only without objects of others.
func TestImageSnapshotsAreDeletedBeforeTheNamespace(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *cloudtest.Cloud, *cloudCleaner)
		want   []string
		// left is the number of snapshots that remain.
		left int
	}{
		"one that is being made": {func(*testing.T, *cloudtest.Cloud, *cloudCleaner) {}, []string{
			"1 image snapshots of former virtual nodes deleted.\n", "Cloud namespace cci-test deleted.\n",
		}, 0},
		"a dry run deletes nothing": {func(_ *testing.T, _ *cloudtest.Cloud, c *cloudCleaner) { c.dryRun = true }, []string{
			"1 image snapshots of former virtual nodes found; nothing is deleted in a dry run.\n",
		}, 1},
		"the account may not list them": {func(t *testing.T, cloud *cloudtest.Cloud, _ *cloudCleaner) {
			t.Helper()
			cloud.Fault(t, ccisim.Fault{Kind: ccisim.NoAgency, Path: "/imagesnapshots$", Times: 1})
		}, []string{
			"Image snapshots were not looked for: listing image snapshots: the cloud answered 403",
			"Cloud namespace cci-test is kept: it contains 1 objects of others: pods cci-imagesnapshot-",
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t, cloudtest.EveryAPI, func(c *ccisim.Config) { c.SnapshotDelay = time.Hour })
			owner := identity.Owner{ClusterID: "prod", Node: "virtual"}
			require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, cloudnamespace.Config{
				Namespace: cloudtest.Namespace, ClusterID: "prod", Subnets: []string{"subnet"}, SecurityGroups: []string{"group"},
				DomainID: cloudtest.Account.DomainID, ProjectID: cloudtest.Account.ProjectID, Poll: time.Millisecond,
			}, slog.New(slog.DiscardHandler)))
			_, err := cloud.Client.CreateSnapshot(t.Context(), &cci.ImageSnapshot{
				ObjectMeta: owner.SnapshotMeta("nginx:1"), Spec: cci.ImageSnapshotSpec{
					BuildingConfig: cci.SnapshotBuilding{Namespace: cloudtest.Namespace}, SizeGiB: 30,
					Images:     []cci.SnapshotImage{{Image: "nginx:1"}},
					Registries: []cci.SnapshotRegistry{{Server: "docker.io"}},
				},
			})
			require.NoError(t, err)
			var out bytes.Buffer
			cleaner := newCloudCleaner(cloud, &out)
			test.change(t, cloud, cleaner)
			require.NoError(t, cleaner.clean(t.Context()))
			for _, want := range test.want {
				assert.Contains(t, out.String(), want)
			}
			left, err := cloud.Client.ListSnapshots(t.Context(), cci.ListOptions{})
			require.NoError(t, err)
			assert.Len(t, left, test.left)
		})
	}
}

func TestACloudNamespaceThatDoesNotExistNeedsNoCleanup(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, newCloudCleaner(cloudtest.New(t), &out).clean(t.Context()))
	assert.Equal(t, "Cloud namespace cci-test does not exist: there is nothing to delete.\n", out.String())
}

// clusterOf returns a cleaner of a cluster with these objects, which prints to the returned buffer. The fake client
// ignores field selectors; the returned one selects Pods by their node.
func clusterOf(objects ...runtime.Object) (*clusterCleaner, *fake.Clientset, *bytes.Buffer) {
	client := fake.NewClientset(objects...)
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list := action.(clienttesting.ListAction)
		selector := list.GetListRestrictions().Fields
		if selector.Empty() {
			return false, nil, nil
		}
		all, err := client.Tracker().
			List(list.GetResource(), corev1.SchemeGroupVersion.WithKind("Pod"), list.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		wanted, _ := selector.RequiresExactMatch("spec.nodeName")
		selected := &corev1.PodList{}
		for _, pod := range all.(*corev1.PodList).Items {
			if pod.Spec.NodeName == wanted {
				selected.Items = append(selected.Items, pod)
			}
		}
		return true, selected, nil
	})
	out := &bytes.Buffer{}
	return &clusterCleaner{
		client: client, clusterID: "prod", poll: time.Millisecond,
		printf: func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) },
	}, client, out
}

func node(name, clusterID string) *corev1.Node {
	labels := policy.VirtualNodeLabels()
	labels[policy.CloudClusterKey] = clusterID
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func pod(name, nodeName string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func marked(p *corev1.Pod) {
	mark := corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: mark, Limits: mark}
}

func owned(p *corev1.Pod) {
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: new(true)}}
}

// podNames returns the names of all Pods, sorted.
func podNames(t *testing.T, client *fake.Clientset) string {
	t.Helper()
	list, err := client.CoreV1().Pods("ns").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var names []string
	for _, p := range list.Items {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

func TestOnlyVirtualNodesOfTheClusterAreDeleted(t *testing.T) {
	cleaner, client, out := clusterOf(node("ours", "prod"), node("theirs", "test"),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "local"}})
	names, err := cleaner.deleteNodes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"ours"}, names)
	assert.Equal(t, "Virtual node ours deleted.\n", out.String())
	left, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, left.Items, 2)
}

func TestPodsOnDeletedNodesAreDeleted(t *testing.T) {
	terminating := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: time.Unix(1e9, 0)}, []string{"example.com/wait"}
	}
	cleaner, client, out := clusterOf(pod("here", "ours"), pod("there", "local"), pod("ending", "ours", terminating))
	require.NoError(t, cleaner.deletePods(t.Context(), []string{"ours"}, false))
	assert.Equal(t, "1 Pods on virtual nodes deleted.\n", out.String(), "the terminating one is not deleted again")
	assert.Equal(t, "ending there", podNames(t, client))
	require.NoError(t, cleaner.deletePods(t.Context(), []string{"ours"}, true))
	assert.Equal(t, "there", podNames(t, client), "with force the terminating one is deleted too")
}

func TestWaitingPodsWithTheMarkerAreReplaced(t *testing.T) {
	cleaner, client, out := clusterOf(pod("owned", "", marked, owned), pod("plain", "", owned),
		pod("alone", "", marked), pod("bound", "local", marked, owned))
	err := cleaner.replaceWaiting(t.Context())
	assert.EqualError(t, err, "1 waiting Pods without a controller that no scheduler can place, such as ns/alone")
	assert.Equal(t, "1 waiting Pods deleted that only Spillway's scheduler could place: "+
		"their controllers create them again.\n", out.String())
	assert.Equal(t, "alone bound plain", podNames(t, client))
}

func TestWaitingPodsOfTheSchedulerAreReplaced(t *testing.T) {
	of := func(scheduler string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.SchedulerName = scheduler }
	}
	cleaner, client, _ := clusterOf(pod("ours", "", of("spillway-scheduler"), owned), pod("plain", "", of(""), owned),
		pod("theirs", "", of("volcano"), owned), pod("bound", "local", of("spillway-scheduler"), owned))
	require.NoError(t, cleaner.replaceWaiting(t.Context()))
	assert.Equal(t, "bound ours plain theirs", podNames(t, client), "there was no scheduler")
	cleaner.scheduler = "spillway-scheduler"
	require.NoError(t, cleaner.replaceWaiting(t.Context()))
	assert.Equal(t, "bound plain theirs", podNames(t, client))
}

func request(t *testing.T, name, commonName string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}, key)
	require.NoError(t, err)
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeletServingSignerName,
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		},
	}
}

func TestOnlyRequestsOfDeletedNodesAreDeleted(t *testing.T) {
	malformed := request(t, "malformed", "system:node:ours")
	malformed.Spec.Request = []byte("none")
	cleaner, client, out := clusterOf(
		request(t, "ours", "system:node:ours"),
		request(t, "theirs", "system:node:theirs"),
		request(t, "user", "ours"),
		malformed,
	)
	require.NoError(t, cleaner.deleteRequests(t.Context(), []string{"ours"}))
	assert.Equal(t, "1 CertificateSigningRequests deleted.\n", out.String())
	left, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, left.Items, 3)
}

func TestUninstallWaitsUntilTheProgramsHaveStopped(t *testing.T) {
	program := pod("vnode-0", "local", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "spillway"} })
	cleaner, client, out := clusterOf(program)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	assert.EqualError(t, cleaner.awaitPrograms(ctx, "ns", "app=spillway"),
		"1 Pods of Spillway's programs in namespace ns, such as vnode-0, which have not stopped")
	assert.Empty(t, out.String())
	require.NoError(t, client.CoreV1().Pods("ns").Delete(t.Context(), "vnode-0", metav1.DeleteOptions{}))
	require.NoError(t, cleaner.awaitPrograms(t.Context(), "ns", "app=spillway"))
	assert.Equal(t, "None of Spillway's programs is running.\n", out.String())
}

func TestTheCommandThatCleansTheCloudIsComplete(t *testing.T) {
	c := config.Default()
	c.ClusterID, c.Policy.CCIVersion = "prod", policy.CCI1
	c.CCI.Namespace, c.CCI.Region, c.CCI.ProjectID = "bursting", "cn-north-4", "p"
	c.CCI.Endpoint, c.CCI.AllowHTTP = "http://cci.example.com", true
	command := gcCommand(c)
	assert.Equal(t, "vnode gc --without-cluster --min-age=0s --cluster-id=prod --cci-namespace=bursting "+
		"--cci-region=cn-north-4 --cci-project-id=p --cci-endpoint=http://cci.example.com --cci-allow-http "+
		"--cci-version=1.0 --cci-credentials-file=FILE", command)
	flags, cfg := pflag.NewFlagSet("vnode gc", pflag.ContinueOnError), &gcConfig{Config: *config.Default()}
	cfg.AddFlags(flags)
	assert.NoError(t, flags.Parse(strings.Fields(command)[2:]), "vnode gc accepts it")
}
