package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/host"
	virtualnode "github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
)

func TestTheNodeIsAVirtualNode(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	config := settings(t, cloud, nodeName(t))
	start(t, config)
	nodes := trial.Client().CoreV1().Nodes()
	node, err := nodes.Get(t.Context(), config.Node.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.True(t, policy.IsOurNode(node.Labels))
	assert.Equal(t, config.ClusterID, node.Labels[policy.CloudClusterKey])
	assert.NotContains(t, node.Labels, corev1.LabelHostname)
	assert.Contains(t, node.Labels, "node-role.kubernetes.io/master")
	assert.Equal(t, "agent", node.Labels["kubernetes.io/role"])
	assert.Contains(t, node.Spec.Taints, policy.ProviderTaint())
	assert.Equal(t, "1k", node.Status.Allocatable.Cpu().String())
	assert.Equal(t, "3k", node.Status.Allocatable.Pods().String())
	assert.Equal(t, config.KubeletPort(), node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	for _, c := range node.Status.Conditions {
		assert.Equal(t, c.Type == corev1.NodeReady, c.Status == corev1.ConditionTrue, "%s", c.Type)
	}

	// If it is deleted, it is created again, and so is its Lease.
	require.NoError(t, nodes.Delete(t.Context(), config.Node.Name, metav1.DeleteOptions{}))
	eventually(t, func() error {
		again, err := nodes.Get(t.Context(), config.Node.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if again.UID == node.UID {
			return errors.New("it is still the old Node")
		}
		if len(again.Spec.Taints) != 1 || !policy.IsOurNode(again.Labels) {
			return errors.New("it lacks its taint or its labels")
		}
		return nil
	})

	// A Node of the previous version, or one whose label was removed, becomes a virtual node of Spillway again.
	_, err = nodes.Patch(t.Context(), config.Node.Name, types.MergePatchType,
		fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}}}`, policy.TrustedNodeLabel), metav1.PatchOptions{})
	require.NoError(t, err)
	eventually(t, func() error {
		again, err := nodes.Get(t.Context(), config.Node.Name, metav1.GetOptions{})
		if err == nil && !policy.IsOurNode(again.Labels) {
			err = errors.New("it lacks its label")
		}
		return err
	})

	// If its Lease was not renewed in time, the control plane marks it Unknown. It becomes Ready again.
	silent := `{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown"}]}}`
	_, err = nodes.Patch(t.Context(), config.Node.Name, types.StrategicMergePatchType, []byte(silent),
		metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	eventually(t, func() error {
		again, err := nodes.Get(t.Context(), config.Node.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready := virtualnode.FindCondition(again, corev1.NodeReady)
		if ready == nil || ready.Status != corev1.ConditionTrue {
			return errors.New("it is not Ready again")
		}
		return nil
	})
}

func TestTheAnnotationOfTheNodeSetsTheDNS(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, func(c *Config) { c.Pods.ClusterDNS = []string{"10.1.2.3"} })
	dnsOf := func(name string) *corev1.PodDNSConfig {
		pod := create(t, ns, podOn(v.name(), name))
		await(t, ns, name, isReady)
		found := cloudPod(t, cloud, pod)
		assert.Equal(t, corev1.DNSNone, found.Spec.DNSPolicy)
		return found.Spec.DNSConfig
	}
	assert.Equal(t, []string{"10.1.2.3"}, dnsOf("first").Nameservers)
	annotate := func(value string) {
		_, err := trial.Client().CoreV1().Nodes().Patch(t.Context(), v.name(), types.MergePatchType,
			fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, policy.ResolvConfAnnotation, value),
			metav1.PatchOptions{})
		require.NoError(t, err)
	}
	annotate("nameserver 4.4.4.4\nnameserver 8.8.8.8\n")
	eventually(t, func() error {
		if got := dnsOf(fmt.Sprintf("p-%d", len(cloud.PodsEver()))); len(got.Nameservers) != 2 ||
			got.Nameservers[0] != "4.4.4.4" {
			return fmt.Errorf("the DNS is %v", got)
		}
		return nil
	})
}

func TestTheCloudNamespaceIsCreatedOrUsed(t *testing.T) {
	t.Parallel()
	t.Run("a network that the console created is used", func(t *testing.T) {
		cloud := cloudtest.NewWithNetwork(t)
		start(t, settings(t, cloud, nodeName(t)))
		networks, err := cloud.Client.ListNetworks(t.Context(), cloudtest.Namespace)
		require.NoError(t, err)
		assert.Len(t, networks, 1)
	})
	t.Run("a missing network is created with all annotations that the service may require", func(t *testing.T) {
		cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.RequireNetworkAnnotations = true })
		start(t, settings(t, cloud, nodeName(t)))
	})
	t.Run("a network without free addresses is used", func(t *testing.T) {
		cloud := cloudtest.NewWithNetwork(t)
		cloud.Fault(t, ccisim.Fault{Kind: ccisim.IPInsufficient})
		start(t, settings(t, cloud, nodeName(t)))
	})
	t.Run("temporary errors are retried", func(t *testing.T) {
		cloud := cloudtest.New(t)
		lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears})
		v := launch(t, settings(t, cloud, nodeName(t)))
		eventually(t, func() error {
			if cloud.CountRequests("", "", 403) == 0 {
				return errors.New("the cloud has not received a request yet")
			}
			return nil
		})
		assert.ErrorContains(t, v.get("/readyz"), "not registered")
		_, err := trial.Client().CoreV1().Nodes().Get(t.Context(), v.config.Node.Name, metav1.GetOptions{})
		assert.True(t, apierrors.IsNotFound(err), "no Node is registered")
		lift()
		eventually(t, func() error { return v.get("/readyz") })
	})
}

func TestACloudNamespaceThatCannotBeUsedEndsTheProgram(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cloud func(testing.TB) *cloudtest.Cloud
		want  []string
	}{
		"a network in other subnets": {func(t testing.TB) *cloudtest.Cloud { return cloudtest.NewWithNetwork(t) },
			[]string{"net", "subnet", "elsewhere"}},
		"security groups that the service refuses": {func(t testing.TB) *cloudtest.Cloud {
			cloud := cloudtest.New(t)
			cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Path: "/networks", Status: 400,
				ErrorCode: "CCI.01.400101", Message: "securitygroup can not be empty"})
			return cloud
		}, []string{"creating network spillway", "securitygroup can not be empty"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := settings(t, tc.cloud(t), nodeName(t))
			config.CCI.SubnetIDs = []string{"elsewhere"}
			v, err := host.New(config, hostname, newDiscard())
			require.NoError(t, err)
			err = v.Run(t.Context())
			require.ErrorIs(t, err, cloudnamespace.ErrUnusable)
			for _, word := range tc.want {
				assert.ErrorContains(t, err, word)
			}
		})
	}
}

// A configuration error, or a network that was deleted, does not affect an existing node with Pods. The node reports
// the error.
func TestAnExistingNodeIsKeptIfItsCloudNamespaceCannotBeUsed(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	for _, name := range []string{"stays", "goes"} {
		create(t, ns, podOn(v.name(), name))
		await(t, ns, name, isReady)
	}
	v.stop(t)
	lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.NetworkFailed})
	start(t, v.again(t))
	object := awaitNode(t, v.name(), hasCondition(nodeconditions.Unusable, corev1.ConditionTrue))
	assert.Contains(t, virtualnode.FindCondition(object, nodeconditions.Unusable).Message,
		"a subnet or a security group was not found")
	assert.Equal(t, corev1.ConditionTrue, virtualnode.FindCondition(object, corev1.NodeReady).Status)
	remove(t, ns, "goes")
	awaitGone(t, ns, "goes")
	create(t, ns, podOn(v.name(), "comes"))
	awaitCloudPods(t, cloud, 2)
	assert.NoError(t, isReady(get(t, ns, "stays")))

	lift()
	awaitNode(t, v.name(), hasCondition(nodeconditions.Unusable, corev1.ConditionFalse))
	await(t, ns, "comes", isReady)
	assert.Len(t, cloud.PodsEver(), 3, "nothing was created twice")
}

// After a restart while the cloud is unavailable, the node and its Pods must not look lost.
func TestAnExistingNodeIsKeptWhileTheCloudIsUnavailable(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	v.stop(t)
	lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 503})
	lease := func() *metav1.MicroTime {
		lease, err := trial.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), v.name(),
			metav1.GetOptions{})
		require.NoError(t, err)
		return lease.Spec.RenewTime
	}
	before := lease()
	v = launch(t, v.again(t))
	eventually(t, func() error {
		if !lease().After(before.Time) {
			return errors.New("the Lease is not renewed")
		}
		return nil
	})
	assert.ErrorContains(t, v.get("/readyz"), "not known")
	assert.NoError(t, isReady(get(t, ns, "web")))
	lift()
	eventually(t, func() error { return v.get("/readyz") })
	assert.NoError(t, isReady(get(t, ns, "web")))
	assert.Len(t, cloud.PodsEver(), 1)
}

func TestSeveralNodesShareACloudNamespace(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	for i := range 2 {
		name := nodeName(t)
		start(t, settings(t, cloud, name))
		create(t, ns, podOn(name, fmt.Sprintf("web-%d", i)))
	}
	for i := range 2 {
		pod := await(t, ns, fmt.Sprintf("web-%d", i), isReady)
		assert.Equal(t, pod.Spec.NodeName, cloudPod(t, cloud, pod).Annotations[policy.CloudNodeAnnotation])
	}
	remove(t, ns, "web-0")
	awaitGone(t, ns, "web-0")
	assert.NoError(t, isReady(get(t, ns, "web-1")))
	list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, list.Items, 1)
}

// A second process for the same node is its standby until the first has ended.
func TestOneProcessManagesANode(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	config := settings(t, cloud, nodeName(t))
	first := start(t, config)
	second := launchOn(t, first.again(t), "another-machine")
	eventually(t, func() error {
		state, err := programtest.Get(second.health + "/readyz")
		if err == nil && !strings.Contains(state, "runs in machine, this process is its standby") {
			err = errors.New("it reports something else: " + state)
		}
		return err
	})
	ns := namespace(t)
	create(t, ns, podOn(config.Node.Name, "web"))
	await(t, ns, "web", isReady)
	assert.Zero(t, second.metric(t, "spillway_vnode_node_running"))
	first.stop(t)
	eventually(t, func() error {
		if second.metric(t, "spillway_vnode_node_running") != 1 {
			return errors.New("the standby does not take over")
		}
		return second.get("/readyz")
	})
	create(t, ns, podOn(config.Node.Name, "later"))
	await(t, ns, "later", isReady)
	assert.Len(t, cloud.PodsEver(), 2)
}
