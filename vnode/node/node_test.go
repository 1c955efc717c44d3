package node

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func testConfig() Config {
	return Config{
		Name: "virtual-node-cci-0", ClusterID: "prod", IP: "10.0.0.1", Port: 10250, Region: "cn-north-4",
		Capacity: Capacity(resource.MustParse("1000"), resource.MustParse("4000Gi"), resource.MustParse("90Ti"), 3000),
	}
}

func newNode(t *testing.T, client *fake.Clientset) *Node {
	t.Helper()
	n, err := New(testConfig(), client, client, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return n
}

func TestTheNodeObject(t *testing.T) {
	got := object(testConfig())
	assert.Equal(t, "virtual-node-cci-0", got.Name)
	assert.True(t, policy.IsOurNode(got.Labels))
	assert.Equal(t, "prod", got.Labels[policy.CloudClusterKey])
	assert.Equal(t, "cn-north-4", got.Labels[corev1.LabelTopologyRegion])
	assert.Contains(t, got.Labels, corev1.LabelNodeExcludeBalancers, "load balancers send no traffic to it")
	assert.Equal(t, []corev1.Taint{policy.ProviderTaint()}, got.Spec.Taints)
	assert.Equal(t, int64(3000), got.Status.Capacity.Pods().Value())
	assert.Equal(t, got.Status.Capacity, got.Status.Allocatable)
	assert.Equal(t, int32(10250), got.Status.DaemonEndpoints.KubeletEndpoint.Port)
	assert.Contains(t, got.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.1"})
	for kind, status := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
		corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
		corev1.NodeNetworkUnavailable: corev1.ConditionFalse,
	} {
		if condition := FindCondition(got, kind); assert.NotNil(t, condition, kind) {
			assert.Equal(t, status, condition.Status, kind)
		}
	}
	assert.NotContains(t, got.Labels, corev1.LabelHostname, "each Pod is on a host of its own")
	assert.Contains(t, got.Labels, "node-role.kubernetes.io/master", "topology hints of Services leave the node out")
	with := testConfig()
	with.HostnameLabel, with.TopologyHints = true, true
	assert.Equal(t, with.Name, object(with).Labels[corev1.LabelHostname])
	assert.NotContains(t, object(with).Labels, "node-role.kubernetes.io/master")
	without := testConfig()
	without.Region = ""
	assert.NotContains(t, object(without).Labels, corev1.LabelTopologyRegion)
}

func TestIncompleteConfigurationsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"without a name":     func(c *Config) { c.Name = "" },
		"without an address": func(c *Config) { c.IP = "" },
		"without a port":     func(c *Config) { c.Port = 0 },
		"without a capacity": func(c *Config) { c.Capacity = nil },
	} {
		config := testConfig()
		change(&config)
		_, err := New(config, fake.NewClientset(), fake.NewClientset(), slog.Default())
		assert.ErrorContains(t, err, "name, address, port and capacity must be given", name)
	}
}

func TestExists(t *testing.T) {
	for name, test := range map[string]struct {
		nodes []runtime.Object
		err   error
		want  bool
	}{
		"a node that is registered":        {[]runtime.Object{object(testConfig())}, nil, true},
		"a node that is not registered":    {nil, nil, false},
		"an API server that has a problem": {nil, apierrors.NewInternalError(errors.New("broken")), false},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(test.nodes...)
			if test.err != nil {
				client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, test.err
				})
			}
			got, err := newNode(t, client).Exists(t.Context())
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.err != nil, err != nil)
		})
	}
}

func TestConditionsAreWritten(t *testing.T) {
	const kind corev1.NodeConditionType = "Test"
	earlier, now := time.Unix(1e9, 0), time.Unix(1e9+60, 0)
	existing := func(status corev1.ConditionStatus, reason, message string) []corev1.NodeCondition {
		return []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
			{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(earlier)},
		}
	}
	for name, test := range map[string]struct {
		existing   []corev1.NodeCondition
		holds      bool
		writes     int
		transition time.Time
	}{
		"a new condition":       {nil, true, 1, now},
		"a new false condition": {nil, false, 1, now},
		"a changed status":      {existing(corev1.ConditionFalse, "Reason", "message"), true, 1, now},
		"a changed reason keeps the time of the transition": {
			existing(corev1.ConditionTrue, "Other", "message"), true, 1, earlier,
		},
		"a changed message keeps the time of the transition": {
			existing(corev1.ConditionTrue, "Reason", "other"), true, 1, earlier,
		},
		"nothing if nothing has changed": {existing(corev1.ConditionTrue, "Reason", "message"), true, 0, earlier},
	} {
		t.Run(name, func(t *testing.T) {
			before := object(testConfig())
			before.Status.Conditions = test.existing
			client := fake.NewClientset(before)
			require.NoError(t, SetCondition(
				t.Context(), client.CoreV1().Nodes(), before, kind, test.holds, "Reason", "message", now))
			assert.Len(t, client.Actions(), test.writes)
			for _, action := range client.Actions() {
				assert.Equal(t, "status", action.GetSubresource())
				var patch corev1.Node
				require.NoError(t, json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &patch))
				assert.Len(t, patch.Status.Conditions, 1, "the conditions of others are not written")
			}
			after, err := client.CoreV1().Nodes().Get(t.Context(), before.Name, metav1.GetOptions{})
			require.NoError(t, err)
			condition := FindCondition(after, kind)
			require.NotNil(t, condition)
			assert.Equal(t, test.holds, condition.Status == corev1.ConditionTrue)
			assert.Equal(t, "Reason", condition.Reason)
			assert.Equal(t, "message", condition.Message)
			assert.True(t, test.transition.Equal(condition.LastTransitionTime.Time))
			assert.Equal(t, test.existing != nil, FindCondition(after, corev1.NodeReady) != nil,
				"the conditions of others stay")
		})
	}
	t.Run("not without the Node", func(t *testing.T) {
		nodes := fake.NewClientset().CoreV1().Nodes()
		err := SetCondition(t.Context(), nodes, object(testConfig()), kind, true, "Reason", "message", now)
		assert.ErrorContains(t, err, "writing condition Test of node virtual-node-cci-0")
	})
}

func TestADeletedNodeIsRegisteredAgain(t *testing.T) {
	notFound := apierrors.NewNotFound(corev1.Resource("nodes"), "virtual-node-cci-0")
	t.Run("after a write of its status has failed", func(t *testing.T) {
		client := fake.NewClientset()
		require.NoError(t, newNode(t, client).recreate(t.Context(), notFound))
		_, err := client.CoreV1().Nodes().Get(t.Context(), "virtual-node-cci-0", metav1.GetOptions{})
		assert.NoError(t, err)
	})
	t.Run("unless another process was faster", func(t *testing.T) {
		assert.NoError(t, newNode(t, fake.NewClientset(object(testConfig()))).recreate(t.Context(), notFound))
	})
	t.Run("or reports why not", func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "", errors.New("no"))
		})
		err := newNode(t, client).recreate(t.Context(), notFound)
		assert.ErrorContains(t, err, "registering node virtual-node-cci-0 again")
	})
	t.Run("and other errors are returned", func(t *testing.T) {
		broken := errors.New("broken")
		assert.Equal(t, broken, newNode(t, fake.NewClientset()).recreate(t.Context(), broken))
	})
}

func TestAChangedNodeIsReported(t *testing.T) {
	ready := func(status corev1.ConditionStatus) *corev1.Node {
		complete := object(testConfig())
		complete.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		return complete
	}
	changed := func(change func(*corev1.Node)) *corev1.Node {
		node := ready(corev1.ConditionTrue)
		change(node)
		return node
	}
	unlabelled := ready(corev1.ConditionTrue)
	delete(unlabelled.Labels, "kubernetes.io/role")
	foreign := ready(corev1.ConditionTrue)
	delete(foreign.Labels, policy.NodeTypeLabel)
	for name, test := range map[string]struct {
		object any
		want   bool
	}{
		"that is Ready needs no write":        {ready(corev1.ConditionTrue), false},
		"whose Lease was not renewed in time": {ready(corev1.ConditionUnknown), true},
		"without the condition":               {&corev1.Node{}, true},
		"without a label":                     {unlabelled, true},
		"of another type":                     {foreign, true},
		"that a controller of routes calls unavailable": {changed(func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions,
				corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
		}), true},
		"without its taint":             {changed(func(n *corev1.Node) { n.Spec.Taints = nil }), true},
		"whose taint has another value": {changed(func(n *corev1.Node) { n.Spec.Taints[0].Value = "other" }), true},
		"with more taints and labels needs no write": {changed(func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "more", Effect: corev1.TaintEffectNoSchedule})
			n.Labels["more"] = "x"
		}), false},
		"in another zone": {changed(func(n *corev1.Node) { n.Labels[corev1.LabelTopologyRegion] = "other" }), true},
		"with the address of another process": {changed(func(n *corev1.Node) {
			n.Status.Addresses[0].Address = "10.0.0.2"
		}), true},
		"with another capacity": {changed(func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("1")
		}), true},
		"with the port of another process": {changed(func(n *corev1.Node) {
			n.Status.DaemonEndpoints.KubeletEndpoint.Port++
		}), true},
		"that is none needs no write": {"other", false},
	} {
		t.Run(name, func(t *testing.T) {
			n, written := newNode(t, fake.NewClientset()), make(chan *corev1.Node, 1)
			n.reporter.NotifyNodeStatus(t.Context(), func(object *corev1.Node) { written <- object })
			n.changed(test.object)
			assert.Equal(t, test.want, n.reporter.writing.Load() || len(written) > 0)
			if test.want {
				assert.Equal(t, "virtual-node-cci-0", (<-written).Name)
			}
		})
	}
}

func TestNewResourcesAreWritten(t *testing.T) {
	n, written := newNode(t, fake.NewClientset()), make(chan *corev1.Node, 1)
	n.reporter.NotifyNodeStatus(t.Context(), func(object *corev1.Node) { written <- object })
	capacity := Capacity(resource.MustParse("40"), resource.MustParse("1Gi"), resource.MustParse("1Gi"), 20)
	allocatable := Capacity(resource.MustParse("30"), resource.MustParse("1Gi"), resource.MustParse("1Gi"), 10)
	n.SetResources(capacity, allocatable)
	object := <-written
	assert.Equal(t, "40", object.Status.Capacity.Cpu().String())
	assert.Equal(t, "10", object.Status.Allocatable.Pods().String())
	require.Eventually(t, func() bool { return !n.reporter.writing.Load() }, cloudtest.Timeout, cloudtest.Tick)
	n.SetResources(capacity.DeepCopy(), allocatable.DeepCopy())
	assert.False(t, n.reporter.writing.Load(), "the same is not written again")
}

func TestTheConfiguredLabelsAndTaintsAreThoseOfTheNode(t *testing.T) {
	config := testConfig()
	config.Zone = "north-a"
	config.Labels = map[string]string{"team": "web", policy.NodeTypeLabel: "cannot be replaced"}
	config.Taints = []corev1.Taint{{Key: "dedicated", Value: "web", Effect: corev1.TaintEffectNoSchedule}}
	got := object(config)
	assert.Equal(t, "north-a", got.Labels[corev1.LabelTopologyZone])
	assert.Equal(t, "web", got.Labels["team"])
	assert.True(t, policy.IsOurNode(got.Labels))
	assert.Equal(t, []corev1.Taint{policy.ProviderTaint(), config.Taints[0]}, got.Spec.Taints)
	for key := range object(testConfig()).Labels {
		assert.True(t, IsReservedLabel(key), key)
	}
	assert.False(t, IsReservedLabel("team"))
}

func TestANodeOfThePreviousVersionGetsItsLabels(t *testing.T) {
	before := object(testConfig())
	delete(before.Labels, policy.TrustedNodeLabel)
	client := fake.NewClientset(before)
	n := newNode(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	<-n.Ready()
	after, err := client.CoreV1().Nodes().Get(t.Context(), before.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.True(t, policy.IsOurNode(after.Labels))
	cancel()
	assert.NoError(t, <-ended)
}

func TestOneReportIsWrittenAtATime(t *testing.T) {
	r := &reporter{limit: rate.NewLimiter(rate.Inf, 1)}
	report := func() *corev1.Node { return object(testConfig()) }
	r.report(report) // Without a controller it does nothing.
	started, release := make(chan struct{}, 2), make(chan struct{})
	r.NotifyNodeStatus(t.Context(), func(*corev1.Node) {
		started <- struct{}{}
		<-release
	})
	r.report(report)
	<-started
	r.report(report)
	close(release)
	require.Eventually(t, func() bool { return !r.writing.Load() }, cloudtest.Timeout, cloudtest.Tick)
	assert.Empty(t, started, "the second report was dropped")
}

// Another client that changes the Node again and again does not make this one write as often.
func TestReportsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, written := newNode(t, fake.NewClientset()), 0
		ctx, cancel := context.WithCancel(t.Context())
		n.reporter.NotifyNodeStatus(ctx, func(*corev1.Node) { written++ })
		for range 1000 {
			n.changed(&corev1.Node{})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		assert.InDelta(t, reportBurst+20, written, 2)
		n.changed(&corev1.Node{})
		cancel()
		synctest.Wait()
		assert.InDelta(t, reportBurst+20, written, 2, "after the end nothing is written")
	})
}

func TestTheDNSAnnotation(t *testing.T) {
	annotated := func(text string) *corev1.Node {
		annotations := map[string]string{policy.ResolvConfAnnotation: text}
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	}
	n := newNode(t, fake.NewClientset())
	assert.Nil(t, n.DNS())
	n.readDNS(annotated("nameserver 10.0.0.2\nsearch example.com\n"))
	require.NotNil(t, n.DNS())
	assert.Equal(t, []string{"10.0.0.2"}, n.DNS().Nameservers)
	n.readDNS(annotated("nameserver no-address"))
	assert.NotNil(t, n.DNS(), "an annotation that cannot be parsed changes nothing")
	n.readDNS("other")
	assert.NotNil(t, n.DNS())
	n.readDNS(&corev1.Node{})
	assert.Nil(t, n.DNS())
}

// TestTheNodeIsRegistered runs a node against the fake API server.
func TestTheNodeIsRegistered(t *testing.T) {
	client := fake.NewClientset()
	n := newNode(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- n.Watch(ctx) }()
	go func() { ended <- n.Run(ctx) }()
	<-n.Ready()
	nodes, leases := client.CoreV1().Nodes(), client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	_, err := nodes.Get(ctx, "virtual-node-cci-0", metav1.GetOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		lease, err := leases.Get(ctx, "virtual-node-cci-0", metav1.GetOptions{})
		return err == nil && *lease.Spec.LeaseDurationSeconds == leaseSeconds
	}, cloudtest.Timeout, cloudtest.Tick, "its Lease is written")
	cancel()
	assert.NoError(t, <-ended)
	assert.NoError(t, <-ended)
	_, err = nodes.Get(t.Context(), "virtual-node-cci-0", metav1.GetOptions{})
	assert.NoError(t, err, "the Node stays in the cluster")
}
