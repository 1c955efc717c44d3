package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/admission/app"
	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

func TestAPodThatFitsOnNoLocalNodeBursts(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	create(t, ns, small("fits"))

	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
	assert.NotEqual(t, virtualNode, onNode(t, ns, "fits"))
	assert.False(t, policy.ToleratesProvider(&get(t, ns, "fits").Spec),
		"a Pod that fits on a local node never gets the toleration")
	event := eventOf(t, ns, "x", "BurstAllowed")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Contains(t, event.Message, "virtual nodes may take the Pod now")
	assert.InDelta(t, 1, p.metric(t, "spillway_admission_tolerations_added_total", "SwitchOn"), 0)
}

func TestWaitingPodsBurstAfterTheGlobalSwitchTurnsOn(t *testing.T) {
	setSwitch(t, "false")
	// The change must reconcile the Pods, not the resync.
	p := start(t, func(c *config.Config) { c.Resync.Duration = time.Hour })
	ns := namespace(t, nil)
	for i := range 20 {
		create(t, ns, big("x"+strconv.Itoa(i)))
	}
	exempt := big("exempt")
	exempt.Annotations = map[string]string{policy.SwitchKey: "true"}
	create(t, ns, exempt)

	assert.Equal(t, virtualNode, onNode(t, ns, "exempt"), "the local switch is on")
	event := eventOf(t, ns, "x0", "SwitchOff")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Contains(t, event.Message, "AUTO_SCALE_EKS in ConfigMap kube-system/eks-config is false: set it to true")
	for i := range 20 {
		eventOf(t, ns, "x"+strconv.Itoa(i), "SwitchOff")
	}
	assert.InDelta(t, 20, p.metric(t, "spillway_admission_pods_explained_total", "SwitchOff"), 0)

	write(t, trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace), "true")

	for i := range 20 {
		name := "x" + strconv.Itoa(i)
		assert.Equal(t, virtualNode, onNode(t, ns, name))
		eventOf(t, ns, name, "BurstAllowed")
		assert.Len(t, reasons(t, ns, name), 2, "each Event is recorded once")
	}
}

func TestAPodThatStaysLocalGetsOneEventWithTheReason(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*corev1.Pod)
		reason  string
		kind    string
		message string
	}{
		"off": {
			func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "off"} },
			"LabelOff", corev1.EventTypeNormal, "remove or change the label",
		},
		"a hostPath without a replacement": {
			func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"},
				}}}
			},
			"HostPath", corev1.EventTypeNormal, "volume logs is a hostPath",
		},
		"a restriction that overrides the label of the Pod": {
			func(p *corev1.Pod) {
				p.Labels = map[string]string{policy.BurstLabel: "enforce"}
				p.Spec.HostNetwork = true
			},
			"HostNamespace", corev1.EventTypeWarning, "hostNetwork needs a node, which the cloud does not have",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t, nil)
			pod := big("x")
			test.change(pod)
			p := start(t, func(c *config.Config) { c.Resync.Duration = time.Second })
			create(t, ns, pod)

			event := eventOf(t, ns, "x", test.reason)
			assert.Equal(t, test.kind, event.Type)
			assert.Contains(t, event.Message, test.message)

			again := recordedOnce(t, p, ns, "x", event)
			assert.Empty(t, get(t, ns, "x").Spec.NodeName)
			assert.Zero(t, again.metric(t, "spillway_admission_pods_explained_total", test.reason),
				"only new Events count")
		})
	}
}

// recordedOnce checks that another process, which it returns, reconciles the Pod without recording the Event again.
func recordedOnce(t *testing.T, p *process, ns, name string, event corev1.Event) *process {
	t.Helper()
	p.stop(t)
	again := start(t, func(c *config.Config) { c.Resync.Duration = time.Second })
	eventually(t, func() error {
		if e := eventOf(t, ns, name, event.Reason); !e.LastTimestamp.After(event.LastTimestamp.Time) {
			return fmt.Errorf("the new process has not reconciled the Pod yet")
		}
		return nil
	})
	assert.Len(t, ourEvents(t, ns, name), 1)
	return again
}

// A Pod that bypassed validation gets one Event, wherever it runs. Only its malformed key has no effect.
func TestPodsThatBypassedValidationAreTreatedAsOffAndGetOneEvent(t *testing.T) {
	annotated := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
	}
	const (
		off     = "until this is corrected, the Pod is treated as off and does not burst"
		ignored = "this is ignored, because it does not affect where the Pod runs"
	)
	tests := map[string]struct {
		pod      *corev1.Pod
		change   func(*corev1.Pod)
		messages []string
		waits    bool
	}{
		"quota": {
			small("quota"), annotated(policy.LocalReplicasAnnotation, "many"),
			[]string{`LOCAL_REPLICAS: invalid value "many": must be a whole number`, off}, false,
		},
		"switch": {
			small("switch"), annotated(policy.SwitchKey, "on"),
			[]string{`AUTO_SCALE_EKS: invalid value "on": must be "true" or "false"`, off}, false,
		},
		"label": {
			small("label"), func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "enfroce"} },
			[]string{`virtual-kubelet.io/burst-to-cci: invalid value "enfroce": must be one of`, off}, false,
		},
		"replacements": {
			small("replacements"), annotated(policy.HostPathReplacementAnnotation, "["),
			[]string{`coordinator.cci.io/hostpath-replacement: invalid value "[": must be a JSON list`, ignored}, false,
		},
		"quota-waiting": {
			big("quota-waiting"), annotated(policy.LocalReplicasAnnotation, "many"),
			[]string{`LOCAL_REPLICAS: invalid value "many"`, off}, true,
		},
	}
	ns := namespace(t, nil) // No program runs now.
	for name, test := range tests {
		test.change(test.pod)
		create(t, ns, test.pod)
		if test.waits {
			unschedulable(t, ns, name)
			continue
		}
		assert.NotEqual(t, virtualNode, onNode(t, ns, name))
	}
	// The Pod of this Deployment inherits its label.
	apply(t, ns, deployment("enfroce", ""))
	var inherits string
	eventually(t, func() error {
		list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
		if err == nil && len(list.Items) == 0 {
			err = fmt.Errorf("the Deployment has no Pod yet")
		}
		if err == nil {
			inherits = list.Items[0].Name
		}
		return err
	})
	assert.NotEqual(t, virtualNode, onNode(t, ns, inherits))
	// enforce ignores the quota: this Pod does not wait for a local node and bursts.
	enforce := big("enforce")
	enforce.Labels = map[string]string{policy.BurstLabel: "enforce"}
	enforce.Annotations = map[string]string{policy.LocalReplicasAnnotation: "many"}
	create(t, ns, enforce)

	p := start(t, func(c *config.Config) { c.Resync.Duration = time.Second })
	assert.Equal(t, virtualNode, onNode(t, ns, "enforce"))
	assert.Contains(t, eventOf(t, ns, "enforce", "InvalidPolicy").Message, ignored)
	assert.Contains(t, eventOf(t, ns, inherits, "InvalidPolicy").Message, off)
	events := map[string]corev1.Event{}
	for name, test := range tests {
		event := eventOf(t, ns, name, "InvalidPolicy")
		assert.Equal(t, corev1.EventTypeWarning, event.Type)
		for _, message := range test.messages {
			assert.Contains(t, event.Message, message)
		}
		events[name] = event
	}
	assert.InDelta(t, len(tests)+2, p.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy"), 0)
	again := recordedOnce(t, p, ns, "quota", events["quota"])
	for name := range tests {
		eventually(t, func() error {
			if e := eventOf(t, ns, name, "InvalidPolicy"); !e.LastTimestamp.After(events[name].LastTimestamp.Time) {
				return fmt.Errorf("the new process has not reconciled Pod %s yet", name)
			}
			return nil
		})
		assert.Equal(t, []string{"InvalidPolicy"}, reasons(t, ns, name))
		assert.Len(t, ourEvents(t, ns, name), 1)
	}
	explained := again.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy")
	assert.Zero(t, explained, "only new Events count")
	assert.Empty(t, get(t, ns, "quota-waiting").Spec.NodeName)
}

// If no node fits, the scheduler calls the extender about preemption only, and its condition does not mention the
// quota.
func TestAPodThatWaitsForItsQuotaGetsAnEvent(t *testing.T) {
	cordon(t, true)
	// Events must reconcile the Pods, not the resync.
	start(t, func(c *config.Config) { c.Resync.Duration = time.Hour })
	ns := namespace(t, nil)
	// Two local nodes take one Pod each: without the extender, the quota is not enforced and only affects messages.
	apply(t, ns, manifest("apps/v1", "ReplicaSet", "", `replicas: 3, selector: {matchLabels: {app: x}}, template: {`+
		`metadata: {labels: {app: x}, annotations: {LOCAL_REPLICAS: "1"}}, `+
		`spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "3"}}}]}}`))
	var waiting []string
	eventually(t, func() error {
		waiting = nil
		bound := 0
		for _, pod := range pods(t, ns, 3) {
			if pod.Spec.NodeName != "" {
				bound++
			} else {
				waiting = append(waiting, pod.Name)
			}
		}
		if bound != 2 {
			return fmt.Errorf("%d Pods are bound", bound)
		}
		return nil
	})
	require.Len(t, waiting, 1)
	event := eventOf(t, ns, waiting[0], "LocalQuotaReached")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Equal(t, policy.LocalQuotaReached(policy.Shares{}, policy.FilteredOut).Sentence, event.Message)

	// A Pod that is bound to a local node later uses up the quota of a Pod that waits already.
	owner, err := trial.Client().CoreV1().ConfigMaps(ns).
		Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	first, second := big("waits"), small("local")
	for _, pod := range []*corev1.Pod{first, second} {
		pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
		pod.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, Controller: new(true)},
		}
	}
	create(t, ns, first)
	unschedulable(t, ns, "waits")
	create(t, ns, big("later"))
	eventOf(t, ns, "later", "BurstAllowed")
	assert.Empty(t, reasons(t, ns, "waits"), "it does not wait for its quota")
	create(t, ns, second)
	eventOf(t, ns, "waits", "LocalQuotaReached")

	// Another revision has no local replica, so its Pod does not wait for its quota.
	other := namespace(t, nil)
	one := podOf("one", "3")
	one.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	create(t, other, one)
	unschedulable(t, other, "one")
	create(t, other, big("later")) // Its Event proves that the controllers have seen the Pods before it.
	eventOf(t, other, "later", "BurstAllowed")
	assert.Empty(t, reasons(t, other, "one"))
}

// cordon cordons the virtual node for the test.
func cordon(t *testing.T, cordoned bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
	_, err := trial.Client().CoreV1().Nodes().
		Patch(context.Background(), virtualNode, types.MergePatchType, patch, metav1.PatchOptions{})
	require.NoError(t, err)
	if cordoned {
		t.Cleanup(func() { cordon(t, false) })
	}
}

func TestTheControllersRepairWhatTheWebhookMissed(t *testing.T) {
	ns := namespace(t, nil) // No program runs now, and the API server ignores that.
	enforce := big("enforce")
	enforce.Labels = map[string]string{policy.BurstLabel: "enforce"}
	create(t, ns, enforce)
	create(t, ns, big("no-key"))
	apply(t, ns, manifest("apps/v1", "StatefulSet", "localPrefer", selectorAnd(templateWith("8"))))
	local := small("stays-local")
	local.Labels = map[string]string{policy.BurstLabel: "enforce"}
	create(t, ns, local)
	pods(t, ns, 4)
	for _, name := range []string{"enforce", "no-key", "x-0"} {
		unschedulable(t, ns, name)
		assert.False(t, policy.ToleratesProvider(&get(t, ns, name).Spec))
	}
	assert.NotEqual(t, virtualNode, onNode(t, ns, "stays-local"), "without admission, enforce has no effect")

	start(t)

	for _, name := range []string{"enforce", "no-key", "x-0"} {
		assert.Equal(t, virtualNode, onNode(t, ns, name))
	}
	assert.Equal(t, "localPrefer", get(t, ns, "x-0").Labels[policy.BurstLabel], "the Pod gets the mode of its owner")
	assert.NotContains(t, get(t, ns, "no-key").Labels, policy.BurstLabel)
	event := eventOf(t, ns, "enforce", "WebhookMissed")
	assert.Equal(t, corev1.EventTypeWarning, event.Type)
	assert.Contains(t, event.Message, "delete the Pod so that it is recreated")
	eventOf(t, ns, "no-key", "BurstAllowed")
	assert.Equal(t, []string{"BurstAllowed"}, reasons(t, ns, "no-key"), "the webhook would not have changed it")
}

func TestWaitingPodsBurstAfterTheirOwnerOrNamespaceGetsALabel(t *testing.T) {
	setSwitch(t, "false")
	start(t, func(c *config.Config) { c.Resync.Duration = time.Hour })
	label := []byte(`{"metadata":{"labels":{` +
		`"virtual-kubelet.io/burst-to-cci":"auto","virtual-node-affinity-injection":"enabled"}}}`)

	t.Run("a label of the Deployment", func(t *testing.T) {
		ns := namespace(t, nil)
		apply(t, ns, manifest("apps/v1", "Deployment", "", selectorAnd(templateWith("8"))))
		pod := pods(t, ns, 1)[0].Name
		eventOf(t, ns, pod, "SwitchOff")
		_, err := trial.Client().AppsV1().Deployments(ns).
			Patch(t.Context(), "x", types.MergePatchType, label, metav1.PatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, virtualNode, onNode(t, ns, pod))
		assert.Equal(t, "auto", get(t, ns, pod).Labels[policy.BurstLabel])
	})
	t.Run("a label of the namespace", func(t *testing.T) {
		ns := namespace(t, nil)
		create(t, ns, big("x"))
		eventOf(t, ns, "x", "SwitchOff")
		_, err := trial.Client().CoreV1().Namespaces().
			Patch(t.Context(), ns, types.MergePatchType, label, metav1.PatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, virtualNode, onNode(t, ns, "x"))
	})
}

// Placeholder Pods are evicted before any Pod bursts: while preemption makes room for a Pod, it must not get the
// toleration.
func TestAPodForWhichPreemptionMakesRoomDoesNotBurst(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	low, high := priorityClass(t, -10), priorityClass(t, 10)
	placeholders := []string{"placeholder-0", "placeholder-1"}
	for _, name := range placeholders {
		create(t, ns, prioritized(name, low))
		require.NotEqual(t, virtualNode, onNode(t, ns, name))
	}

	create(t, ns, prioritized("work", high))
	eventually(t, func() error {
		if get(t, ns, "work").Status.NominatedNodeName == "" {
			return fmt.Errorf("the Pod has no nominated node yet")
		}
		return nil
	})
	create(t, ns, big("later"))
	assert.Equal(t, virtualNode, onNode(t, ns, "later"), "the controllers have seen the Pods before it")
	assert.False(t, policy.ToleratesProvider(&get(t, ns, "work").Spec))
	assert.NotContains(t, p.logs.String(), ns+"/work")

	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))} // No kubelet runs the Pods, so none deletes them.
	for _, name := range placeholders {
		require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), name, now))
	}
	assert.NotEqual(t, virtualNode, onNode(t, ns, "work"))
}

// priorityClass creates a PriorityClass.
func priorityClass(t *testing.T, value int32) (name string) {
	t.Helper()
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Value: value}
	created, err := trial.Client().SchedulingV1().PriorityClasses().Create(t.Context(), class, metav1.CreateOptions{})
	require.NoError(t, err)
	return created.Name
}

// prioritized returns a Pod of which one fits on a local node.
func prioritized(name, class string) *corev1.Pod {
	pod := podOf(name, "3")
	pod.Spec.PriorityClassName = class
	return pod
}

func TestCloudPodsOfAReplicaSetGetACostAndAreDeletedFirst(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	// The Pods request 3 CPU: the two local nodes with 4 CPU take one each, and the others burst because of the switch.
	apply(t, ns, manifest("apps/v1", "Deployment", "", "replicas: 4, "+selectorAnd(templateWith("3"))))
	local := map[string]bool{}
	for _, pod := range pods(t, ns, 4) {
		if onNode(t, ns, pod.Name) != virtualNode {
			local[pod.Name] = true
			continue
		}
		eventually(t, func() error {
			if cost := get(t, ns, pod.Name).Annotations[policy.DeletionCostAnnotation]; cost != cloudCost {
				return fmt.Errorf("Pod %s has the cost %q", pod.Name, cost)
			}
			return nil
		})
	}
	require.Len(t, local, 2)
	assert.InDelta(t, 2, p.metric(t, "spillway_admission_ranks_written_total"), 0)

	_, err := trial.Client().AppsV1().Deployments(ns).Patch(t.Context(), "x", types.MergePatchType,
		[]byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
	require.NoError(t, err)

	eventually(t, func() error {
		list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		left := map[string]bool{}
		for _, pod := range list.Items { // No kubelet runs the Pods, so those being deleted remain.
			if pod.DeletionTimestamp == nil {
				left[pod.Name] = true
			}
		}
		if len(left) != 2 {
			return fmt.Errorf("%d Pods are left", len(left))
		}
		assert.Equal(t, local, left, "the local Pods stay")
		return nil
	})
	for name := range local {
		assert.NotContains(t, get(t, ns, name).Annotations, policy.DeletionCostAnnotation)
	}
}

func TestACostOfTheUserStaysAndStatefulSetsGetNone(t *testing.T) {
	p := start(t, func(c *config.Config) { c.Resync.Duration = time.Second })
	ns := namespace(t, nil)
	apply(t, ns, deployment("enforce", `controller.kubernetes.io/pod-deletion-cost: "7"`))
	apply(t, ns, manifest("apps/v1", "StatefulSet", "enforce", selectorAnd(template(""))))
	other := namespace(t, nil)
	apply(t, other, manifest("apps/v1", "Deployment", "enforce", selectorAnd(template(""))))

	for _, pod := range pods(t, ns, 2) {
		assert.Equal(t, virtualNode, onNode(t, ns, pod.Name))
	}
	ranked := pods(t, other, 1)[0].Name
	eventually(t, func() error {
		if get(t, other, ranked).Annotations[policy.DeletionCostAnnotation] != cloudCost {
			return fmt.Errorf("Pod %s has no cost", ranked)
		}
		return nil
	})
	for _, pod := range pods(t, ns, 2) {
		want := "7"
		if pod.Name == "x-0" {
			want = ""
		}
		assert.Equal(t, want, pod.Annotations[policy.DeletionCostAnnotation], pod.Name)
	}
	assert.InDelta(t, 1, p.metric(t, "spillway_admission_ranks_written_total"), 0)
}

func TestOneOfSeveralProcessesRunsTheControllers(t *testing.T) {
	first := start(t)
	eventually(t, func() error { return leads(t, first) })
	second := launch(t, func(c *config.Config) { c.HealthListen = programtest.FreeAddress(t) })
	require.Error(t, leads(t, second))

	first.stop(t)

	eventually(t, func() error { return leads(t, second) })
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
}

// A leader stops when another process takes the Lease, and starts again when it gets the Lease back. Here that takes
// 9 s, a little longer than a leader tries to renew.
func TestALeaderThatLosesTheLeaseGetsItBack(t *testing.T) {
	p := start(t)
	eventually(t, func() error { return leads(t, p) })
	stolen := fmt.Appendf(nil, `{"spec":{"holderIdentity":"another","leaseDurationSeconds":9,"renewTime":%q}}`,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	_, err := trial.Client().CoordinationV1().Leases(system.ProgramNamespace).
		Patch(t.Context(), app.LeaseName, types.MergePatchType, stolen, metav1.PatchOptions{})
	require.NoError(t, err)

	eventually(t, func() error {
		if leads(t, p) == nil {
			return fmt.Errorf("it still leads")
		}
		return nil
	})
	require.NoError(t, p.get("/readyz"), "the webhook continues")
	eventually(t, func() error { return leads(t, p) })
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
}

// leads returns an error unless the process is the leader.
func leads(t *testing.T, p *process) error {
	t.Helper()
	if p.metric(t, "spillway_admission_leader") != 1 {
		return fmt.Errorf("it does not lead")
	}
	return nil
}

// reasons returns the reasons of the Events of admission about the Pod.
func reasons(t *testing.T, namespace, name string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, e := range ourEvents(t, namespace, name) {
		found[e.Reason] = true
	}
	return slices.Sorted(maps.Keys(found))
}
