package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
)

func TestALostCloudPodIsReported(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	key := identity.KeyOf(pod)
	require.NoError(t, h.sim.Client.DeletePod(t.Context(), cloudtest.Namespace, cloud.Name, cci.DeleteOptions{
		GraceSeconds: new(int64(0)),
	}))
	h.awaitGone(pod)
	h.cloudChanged(key, cloud, inventory.Gone)
	h.inventory.Drop(key, cloud)

	assert.Zero(t, h.reconciles(pod))
	assert.Equal(t, 1, h.cloud.calls["get"], "the absence is read from the cloud")
	h.assertEvent("Warning CloudPodLost", "disappeared without a request")
	assert.Equal(t, corev1.PodFailed, h.status().Phase)
	assert.Equal(t, ReasonLost, h.status().Reason)
	assert.Contains(t, h.status().Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "TerminationByKubelet",
		Message: h.status().Message, LastTransitionTime: metav1.NewTime(h.clock),
	}, "the podFailurePolicy of a Job can ignore the loss")
	assert.EqualValues(t, 1, h.metric(h.metrics.lost))

	h.reconciles(pod)
	h.assertNoEvent()
	assert.EqualValues(t, 1, h.metric(h.metrics.lost), "a loss is counted once")
	assert.Equal(t, 1, h.cloud.calls["create"], "a Pod that has run is not created again")
}

func TestAPodThatAListDoesNotContainIsReadFromTheCloud(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	key := identity.KeyOf(pod)
	h.inventory.Drop(key, cloud)
	h.cloudChanged(key, cloud, inventory.Missing)

	pod.Status.PodIP, pod.Status.ContainerStatuses = "", nil // As after a lost write of the status.
	assert.Zero(t, h.reconciles(pod))
	assert.Equal(t, corev1.PodRunning, h.status().Phase)
	assert.NotNil(t, h.inventory.Get(key))
	h.assertNoEvent()

	h.inventory.Drop(key, cloud)
	h.cloud.fail["get"] = &cci.Error{Kind: cci.Transient}
	_, err := h.reconcilePod(pod)
	assert.Equal(t, cci.Transient, cci.KindOf(err), "without a response nothing is lost")
	h.assertNoEvent()
}

func TestAPodThatNeverRanIsCreatedAgain(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web"))
	h.reconciles(pod)
	key := identity.KeyOf(pod)
	cloud := h.inventory.Get(key)
	require.NoError(t, h.sim.Client.DeletePod(t.Context(), cloudtest.Namespace, cloud.Name, cci.DeleteOptions{
		GraceSeconds: new(int64(0)),
	}))
	h.awaitGone(pod)
	h.cloudChanged(key, cloud, inventory.Gone)
	h.inventory.Drop(key, cloud)
	assert.True(t, h.state(key).gone)
	h.reconciles(pod)
	assert.Equal(t, 2, h.cloud.calls["create"])
	assert.False(t, h.state(key).gone)
}

func TestACloudPodThatOthersEndIsLeftAlone(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	cloud.DeletionTimestamp, cloud.Status.Phase = &metav1.Time{Time: h.clock}, corev1.PodSucceeded
	h.setCloud(cloud)
	assert.Equal(t, recheck, h.reconciles(pod))
	assert.Nil(t, h.reported)
	assert.Empty(t, h.cloud.deletions)
}

func TestWhichPodsHaveRun(t *testing.T) {
	status := func(change func(*corev1.ContainerStatus)) *corev1.PodStatus {
		container := corev1.ContainerStatus{Name: "main"}
		change(&container)
		return &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container}}
	}
	for name, test := range map[string]struct {
		status *corev1.PodStatus
		last   *cci.Pod
		want   bool
	}{
		"a new Pod has not": {&corev1.PodStatus{}, nil, false},
		"a Pod whose container waits has not": {status(func(c *corev1.ContainerStatus) {
			c.State.Waiting = &corev1.ContainerStateWaiting{}
		}), nil, false},
		"a Pod with an address has": {&corev1.PodStatus{PodIP: "10.0.0.5"}, nil, true},
		"a Pod with a container ID has": {
			status(func(c *corev1.ContainerStatus) { c.ContainerID = "cci://1" }), nil, true,
		},
		"a Pod with a running container has": {status(func(c *corev1.ContainerStatus) {
			c.State.Running = &corev1.ContainerStateRunning{}
		}), nil, true},
		"a Pod with an ended container has": {status(func(c *corev1.ContainerStatus) {
			c.State.Terminated = &corev1.ContainerStateTerminated{}
		}), nil, true},
		"a Pod with an ended init container has": {&corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
		}}}, nil, true},
		"a Pod whose last cloud Pod had an address has": {
			&corev1.PodStatus{}, &cci.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.5"}}, true,
		},
		"a Pod whose last cloud Pod had no address has not": {&corev1.PodStatus{}, &cci.Pod{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod("web")
			pod.Status = *test.status
			p := &Provider{states: map[identity.Key]*podState{identity.KeyOf(pod): {last: test.last}}}
			assert.Equal(t, test.want, p.hasRun(pod))
		})
	}
}

func TestPodsAreCountedByPhase(t *testing.T) {
	h := newHarness(t)
	h.put(newPod("a", phase(corev1.PodRunning)))
	h.put(newPod("b", phase(corev1.PodRunning)))
	h.put(newPod("c"))
	counts := map[string]float64{}
	families, err := h.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "spillway_vnode_pods" {
				counts[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
			}
		}
	}
	assert.Equal(t, map[string]float64{"Pending": 1, "Running": 2, "Succeeded": 0, "Failed": 0}, counts)
	problems, err := testutil.GatherAndLint(h.registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// TestTheLoop runs the provider with its inventory and mirrors, against the fake API server and the simulated cloud.
func TestTheLoop(t *testing.T) {
	h := newHarness(t)
	config := h.config()
	config.Registerer, config.Now = nil, time.Now
	p, err := New(config)
	require.NoError(t, err)
	reported := make(chan *corev1.Pod, 100)

	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { config.Pods.RunWithContext(ctx); return nil })
	group.Go(func() error { return config.Inventory.Run(ctx) })
	group.Go(func() error { return config.Mirrors.Run(ctx) })
	group.Go(func() error { return p.Run(ctx) })
	defer func() {
		cancel()
		assert.NoError(t, group.Wait())
	}()
	_, err = h.client.CoreV1().Pods("default").Create(ctx, newPod("web"), metav1.CreateOptions{})
	require.NoError(t, err)
	isKnown := func() bool { return p.pod(identity.KeyOf(newPod("web"))) != nil }
	require.Eventually(t, isKnown, cloudtest.Timeout, cloudtest.Tick)
	assert.Zero(t, h.cloud.calls["create"], "nothing is done before virtual-kubelet has called NotifyPods")

	p.NotifyPods(ctx, func(pod *corev1.Pod) { reported <- pod })
	for pod := range reported {
		if pod.Status.Phase == corev1.PodRunning {
			break
		}
	}
	pods, err := p.GetPods(ctx)
	require.NoError(t, err)
	assert.Len(t, pods, 1)

	require.NoError(t, h.client.CoreV1().Pods("default").Delete(ctx, "web", metav1.DeleteOptions{}))
	h.awaitGone(newPod("web"))
}

func TestRunEndsBeforeThePodsAreKnown(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.NoError(t, h.Run(ctx))
}

func TestAFailureOfAnUnknownPodKeepsNothing(t *testing.T) {
	h := newHarness(t)
	h.failed(identity.Key{Name: "gone"}, 1, time.Second, &cci.Error{Kind: cci.Transient})
	assert.Empty(t, h.states)
}

// 400 containers with ten faults each once made a status of 131 MB, because each container had all messages.
func TestAPodWithManyFaultsHasASmallStatus(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web", func(pod *corev1.Pod) {
		ports := slices.Repeat([]corev1.ContainerPort{{ContainerPort: 61000}}, 10)
		pod.Spec.Containers = nil
		for i := range 400 {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
				Name: fmt.Sprintf("c%d", i), Ports: ports,
			})
		}
	})
	h.put(pod)
	costtest.AtMost(t, 32<<20, func() { h.reconciles(pod) })
	status, err := json.Marshal(h.status())
	require.NoError(t, err)
	t.Logf("the status has %d KB", len(status)/1000)
	assert.Less(t, len(status), 64<<10)
	assert.Equal(t, string(policy.ReasonReservedPort), h.status().Reason)
	assert.LessOrEqual(t, len(h.status().Message), policy.MaxMessage)
	assert.Equal(t, 1, strings.Count(string(status), "container c7 has containerPort 61000"))
	for _, event := range h.drainEvents() {
		assert.Less(t, len(event), 1100)
	}
}

// A cloud that lies could point Services, port forwarding and requests of vnode at any machine.
func TestAnAddressOutsideTheSubnetsIsNotUsed(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web"))
	cloud := &cci.Pod{
		RefusedAddress: "169.254.169.254: it is a loopback, link-local, multicast or unspecified address",
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			},
		},
	}
	owner.Mark(&cloud.ObjectMeta, identity.KeyOf(pod))
	h.setCloud(cloud)
	h.reconciles(pod)
	h.reconciles(pod)
	events := h.drainEvents()
	require.Len(t, events, 1, "once")
	assert.Contains(t, events[0], "Warning CloudAddressRefused An address that the cloud reports for this Pod is not "+
		"used: 169.254.169.254: it is a loopback")
	assert.Empty(t, h.status().PodIP)
	assert.Empty(t, h.UsageTargets())
	_, err := h.Address("default", "web")
	assert.True(t, errdefs.IsInvalidInput(err))
	assert.ErrorContains(t, err, "the address of pod default/web is not used: 169.254.169.254")
}
