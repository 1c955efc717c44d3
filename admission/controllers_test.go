package main

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

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

func TestAPodThatFitsNowhereAtHomeGoesToTheCloud(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	create(t, ns, small("fits"))

	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
	assert.NotEqual(t, virtualNode, onNode(t, ns, "fits"))
	assert.False(t, policy.ToleratesProvider(&get(t, ns, "fits").Spec), "what finds a place at home never tolerates the cloud")
	event := told(t, ns, "x", "BurstAllowed")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Contains(t, event.Message, "virtual nodes may take the Pod now")
	assert.InDelta(t, 1, p.metric(t, "spillway_admission_tolerations_added_total", "SwitchOn"), 0)
}

func TestTheGlobalSwitchReleasesThePodsThatWait(t *testing.T) {
	setSwitch(t, "false")
	p := start(t, func(c *Config) { c.Resync.Duration = time.Hour }) // So it is the change that wakes them.
	ns := namespace(t, nil)
	for i := range 20 {
		create(t, ns, big("x"+strconv.Itoa(i)))
	}
	exempt := big("exempt")
	exempt.Annotations = map[string]string{policy.SwitchKey: "true"}
	create(t, ns, exempt)

	assert.Equal(t, virtualNode, onNode(t, ns, "exempt"), "the local switch is on")
	event := told(t, ns, "x0", "SwitchOff")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Contains(t, event.Message, "AUTO_SCALE_EKS is false in ConfigMap kube-system/eks-config: set it to true")
	for i := range 20 {
		told(t, ns, "x"+strconv.Itoa(i), "SwitchOff")
	}
	assert.InDelta(t, 20, p.metric(t, "spillway_admission_pods_explained_total", "SwitchOff"), 0)

	write(t, trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace), "true")

	for i := range 20 {
		name := "x" + strconv.Itoa(i)
		assert.Equal(t, virtualNode, onNode(t, ns, name))
		told(t, ns, name, "BurstAllowed")
		assert.Len(t, reasons(t, ns, name), 2, "each thing is said once")
	}
}

func TestAPodKeptHomeIsToldWhyOnce(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		reason string
		kind   string
		words  string
	}{
		"off": {
			func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "off"} },
			"LabelOff", corev1.EventTypeNormal, "remove or change the label",
		},
		"a hostPath without a replacement": {
			func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}}}
			},
			"HostPath", corev1.EventTypeNormal, "volume logs is a hostPath",
		},
		"a restriction against the Pod's own label": {
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
			p := start(t, func(c *Config) { c.Resync.Duration = time.Second })
			create(t, ns, pod)

			event := told(t, ns, "x", test.reason)
			assert.Equal(t, test.kind, event.Type)
			assert.Contains(t, event.Message, test.words)
			assert.Contains(t, event.Message, "no local node fits")

			again := toldOnce(t, p, ns, "x", event)
			assert.Empty(t, get(t, ns, "x").Spec.NodeName)
			assert.Zero(t, again.metric(t, "spillway_admission_pods_explained_total", test.reason), "only what was said counts")
		})
	}
}

// toldOnce proves that neither another look at the Pod nor another process, which it returns, says the event again.
func toldOnce(t *testing.T, p *process, ns, name string, event corev1.Event) *process {
	t.Helper()
	p.stop(t)
	again := start(t, func(c *Config) { c.Resync.Duration = time.Second })
	eventually(t, func() error {
		if e := told(t, ns, name, event.Reason); !e.LastTimestamp.After(event.LastTimestamp.Time) {
			return fmt.Errorf("the new process has not looked at the Pod yet")
		}
		return nil
	})
	assert.Len(t, ourEvents(t, ns, name), 1)
	return again
}

// What got past the validation because nobody was asked has one Event each, wherever it runs, and loses what is broken only.
func TestPodsThatGotPastTheValidationAreTreatedAsOffAndToldOnce(t *testing.T) {
	annotated := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
	}
	const off, ignored = "until that is right the Pod is treated as off: it does not burst", "it is ignored: where this Pod runs does not depend on it"
	tests := map[string]struct {
		pod    *corev1.Pod
		change func(*corev1.Pod)
		words  []string
		// node is where the Pod ends: anywhere at home, nowhere or on the virtual node.
		node string
	}{
		"quota":         {small("quota"), annotated(policy.LocalReplicasAnnotation, "many"), []string{`LOCAL_REPLICAS: invalid value "many": must be a whole number`, off}, "home"},
		"switch":        {small("switch"), annotated(policy.SwitchKey, "on"), []string{`AUTO_SCALE_EKS: invalid value "on": must be "true" or "false"`, off}, "home"},
		"label":         {small("label"), func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "enfroce"} }, []string{`virtual-kubelet.io/burst-to-cci: invalid value "enfroce": must be one of`, off}, "home"},
		"replacements":  {small("replacements"), annotated(policy.HostPathReplacementAnnotation, "["), []string{`coordinator.cci.io/hostpath-replacement: invalid value "[": must be a JSON list`, ignored}, "home"},
		"quota-waiting": {big("quota-waiting"), annotated(policy.LocalReplicasAnnotation, "many"), []string{`LOCAL_REPLICAS: invalid value "many"`, off}, ""},
	}
	ns := namespace(t, nil) // No program runs now.
	for name, test := range tests {
		test.change(test.pod)
		create(t, ns, test.pod)
		if test.node == "" {
			unschedulable(t, ns, name)
			continue
		}
		assert.NotEqual(t, virtualNode, onNode(t, ns, name))
	}
	// Its Pod has the label from the Deployment.
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
	// A quota means nothing with enforce: this one waits for no local node and goes to the cloud.
	enforce := big("enforce")
	enforce.Labels, enforce.Annotations = map[string]string{policy.BurstLabel: "enforce"}, map[string]string{policy.LocalReplicasAnnotation: "many"}
	create(t, ns, enforce)

	p := start(t, func(c *Config) { c.Resync.Duration = time.Second })
	assert.Equal(t, virtualNode, onNode(t, ns, "enforce"))
	assert.Contains(t, told(t, ns, "enforce", "InvalidPolicy").Message, ignored)
	assert.Contains(t, told(t, ns, inherits, "InvalidPolicy").Message, off)
	events := map[string]corev1.Event{}
	for name, test := range tests {
		event := told(t, ns, name, "InvalidPolicy")
		assert.Equal(t, corev1.EventTypeWarning, event.Type)
		for _, words := range test.words {
			assert.Contains(t, event.Message, words)
		}
		events[name] = event
	}
	assert.InDelta(t, len(tests)+2, p.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy"), 0)
	again := toldOnce(t, p, ns, "quota", events["quota"])
	for name := range tests {
		eventually(t, func() error { // The new process has looked at it.
			if e := told(t, ns, name, "InvalidPolicy"); !e.LastTimestamp.After(events[name].LastTimestamp.Time) {
				return fmt.Errorf("%s has not been looked at yet", name)
			}
			return nil
		})
		assert.Equal(t, []string{"InvalidPolicy"}, reasons(t, ns, name))
		assert.Len(t, ourEvents(t, ns, name), 1)
	}
	assert.Zero(t, again.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy"), "only what was said counts")
	assert.Empty(t, get(t, ns, "quota-waiting").Spec.NodeName)
}

// Where no node at all fits, the scheduler asks the extender about preemption only, and the condition says nothing of the quota.
func TestAPodThatWaitsForItsQuotaIsToldSo(t *testing.T) {
	cordon(t, true)
	start(t, func(c *Config) { c.Resync.Duration = time.Hour }) // So it is what happens that wakes them.
	ns := namespace(t, nil)
	apply(t, ns, manifest("apps/v1", "ReplicaSet", "", `replicas: 3, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}, annotations: {LOCAL_REPLICAS: "1"}}, `+
		`spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "3"}}}]}}`)) // Two local nodes take one each: without the extender the quota only has words.
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
	event := told(t, ns, waiting[0], "LocalQuotaReached")
	assert.Equal(t, corev1.EventTypeNormal, event.Type)
	assert.Contains(t, event.Message, "this revision has its LOCAL_REPLICAS=1 at home, and no virtual node can take the Pod now")

	// One that comes home later uses up the quota of one that waits already.
	mine, err := trial.Client().CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	first, second := big("waits"), small("comes-home")
	for _, pod := range []*corev1.Pod{first, second} {
		pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: mine.Name, UID: mine.UID, Controller: new(true)}}
	}
	create(t, ns, first)
	unschedulable(t, ns, "waits")
	create(t, ns, big("later"))
	told(t, ns, "later", "BurstAllowed")
	assert.Empty(t, reasons(t, ns, "waits"), "it waits for room only")
	create(t, ns, second)
	told(t, ns, "waits", "LocalQuotaReached")

	// Another revision has no Pod at home and waits for room only.
	other := namespace(t, nil)
	one := podOf("one", "3")
	one.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	create(t, other, one)
	unschedulable(t, other, "one")
	create(t, other, big("later")) // Once this one is told, the controllers have seen what came before.
	told(t, other, "later", "BurstAllowed")
	assert.Empty(t, reasons(t, other, "one"))
}

// cordon closes the virtual node for the test.
func cordon(t *testing.T, closed bool) {
	t.Helper()
	_, err := trial.Client().CoreV1().Nodes().Patch(context.Background(), virtualNode, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed), metav1.PatchOptions{})
	require.NoError(t, err)
	if closed {
		t.Cleanup(func() { cordon(t, false) })
	}
}

func TestWhatWasMissedIsPutRightAfterAnOutage(t *testing.T) {
	ns := namespace(t, nil) // No program runs now: the API server goes on without it.
	enforce := big("enforce")
	enforce.Labels = map[string]string{policy.BurstLabel: "enforce"}
	create(t, ns, enforce)
	create(t, ns, big("no-key"))
	apply(t, ns, manifest("apps/v1", "StatefulSet", "localPrefer",
		`selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "8"}}}]}}`))
	stays := small("stays-home")
	stays.Labels = map[string]string{policy.BurstLabel: "enforce"}
	create(t, ns, stays)
	pods(t, ns, 4)
	for _, name := range []string{"enforce", "no-key", "x-0"} {
		unschedulable(t, ns, name)
		assert.False(t, policy.ToleratesProvider(&get(t, ns, name).Spec))
	}
	assert.NotEqual(t, virtualNode, onNode(t, ns, "stays-home"), "nobody was there to send it away")

	start(t)

	for _, name := range []string{"enforce", "no-key", "x-0"} {
		assert.Equal(t, virtualNode, onNode(t, ns, name))
	}
	assert.Equal(t, "localPrefer", get(t, ns, "x-0").Labels[policy.BurstLabel], "the mode of the workload comes onto the Pod")
	assert.NotContains(t, get(t, ns, "no-key").Labels, policy.BurstLabel)
	event := told(t, ns, "enforce", "WebhookMissed")
	assert.Equal(t, corev1.EventTypeWarning, event.Type)
	assert.Contains(t, event.Message, "delete it to have it made again")
	told(t, ns, "no-key", "BurstAllowed")
	assert.Equal(t, []string{"BurstAllowed"}, reasons(t, ns, "no-key"), "it missed nothing")
}

func TestALabelOfAWorkloadOrNamespaceReleasesItsPods(t *testing.T) {
	setSwitch(t, "false")
	start(t, func(c *Config) { c.Resync.Duration = time.Hour })
	label := []byte(`{"metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"auto","virtual-node-affinity-injection":"enabled"}}}`)
	waiting := `selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "8"}}}]}}`

	t.Run("a Deployment's", func(t *testing.T) {
		ns := namespace(t, nil)
		apply(t, ns, manifest("apps/v1", "Deployment", "", waiting))
		pod := pods(t, ns, 1)[0].Name
		told(t, ns, pod, "SwitchOff")
		_, err := trial.Client().AppsV1().Deployments(ns).Patch(t.Context(), "x", types.MergePatchType, label, metav1.PatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, virtualNode, onNode(t, ns, pod))
		assert.Equal(t, "auto", get(t, ns, pod).Labels[policy.BurstLabel])
	})
	t.Run("a namespace's", func(t *testing.T) {
		ns := namespace(t, nil)
		create(t, ns, big("x"))
		told(t, ns, "x", "SwitchOff")
		_, err := trial.Client().CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, label, metav1.PatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, virtualNode, onNode(t, ns, "x"))
	})
}

// Placeholder Pods give way before anything bursts: a Pod for which room is being made must not be released meanwhile.
func TestAPodForWhichPreemptionMakesRoomIsNotReleased(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	low, high := priorityClass(t, -10), priorityClass(t, 10)
	placeholders := []string{"placeholder-0", "placeholder-1"}
	for _, name := range placeholders {
		create(t, ns, prioritised(name, low))
		require.NotEqual(t, virtualNode, onNode(t, ns, name))
	}

	create(t, ns, prioritised("work", high))
	eventually(t, func() error {
		if get(t, ns, "work").Status.NominatedNodeName == "" {
			return fmt.Errorf("nothing gives way yet")
		}
		return nil
	})
	create(t, ns, big("later"))
	assert.Equal(t, virtualNode, onNode(t, ns, "later"), "the controllers have seen what came before")
	assert.False(t, policy.ToleratesProvider(&get(t, ns, "work").Spec))
	assert.NotContains(t, p.logs.String(), ns+"/work")

	for _, name := range placeholders { // Nobody runs them, so nobody ends them either.
		require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	}
	assert.NotEqual(t, virtualNode, onNode(t, ns, "work"))
}

func priorityClass(t *testing.T, value int32) (name string) {
	t.Helper()
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Value: value}
	made, err := trial.Client().SchedulingV1().PriorityClasses().Create(t.Context(), class, metav1.CreateOptions{})
	require.NoError(t, err)
	return made.Name
}

// prioritised is a Pod of which one fits on a local node.
func prioritised(name, class string) *corev1.Pod {
	pod := podOf(name, "3")
	pod.Spec.PriorityClassName = class
	return pod
}

func TestCloudPodsOfAReplicaSetAreRankedAndGoFirst(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	// Pods of 3 CPU, by the switch alone: the two local nodes of 4 take one each, and only then the cloud is asked.
	apply(t, ns, manifest("apps/v1", "Deployment", "",
		`replicas: 4, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "3"}}}]}}`))
	local := map[string]bool{}
	for _, pod := range pods(t, ns, 4) {
		if onNode(t, ns, pod.Name) != virtualNode {
			local[pod.Name] = true
			continue
		}
		eventually(t, func() error {
			if cost := get(t, ns, pod.Name).Annotations[policy.DeletionCostAnnotation]; cost != policy.CloudDeletionCost {
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
		for _, pod := range list.Items { // Nobody runs the Pods, so nobody ends them either.
			if pod.DeletionTimestamp == nil {
				left[pod.Name] = true
			}
		}
		if len(left) != 2 {
			return fmt.Errorf("%d Pods are left", len(left))
		}
		assert.Equal(t, local, left, "the Pods at home stay")
		return nil
	})
	for name := range local {
		assert.NotContains(t, get(t, ns, name).Annotations, policy.DeletionCostAnnotation)
	}
}

func TestAUsersRankStaysAndOnlyReplicaSetsAreRanked(t *testing.T) {
	p := start(t, func(c *Config) { c.Resync.Duration = time.Second })
	ns := namespace(t, nil)
	apply(t, ns, manifest("apps/v1", "Deployment", "enforce",
		`selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}, annotations: {controller.kubernetes.io/pod-deletion-cost: "7"}}, spec: {containers: [{name: c, image: web}]}}`))
	apply(t, ns, manifest("apps/v1", "StatefulSet", "enforce", selectorAnd(template(""))))
	other := namespace(t, nil)
	apply(t, other, manifest("apps/v1", "Deployment", "enforce", selectorAnd(template(""))))

	for _, pod := range pods(t, ns, 2) {
		assert.Equal(t, virtualNode, onNode(t, ns, pod.Name))
	}
	ranked := pods(t, other, 1)[0].Name
	eventually(t, func() error {
		if get(t, other, ranked).Annotations[policy.DeletionCostAnnotation] != policy.CloudDeletionCost {
			return fmt.Errorf("Pod %s is not ranked", ranked)
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
	second := launch(t, func(c *Config) { c.HealthListen = programtest.FreeAddress(t) })
	require.Error(t, leads(t, second))

	first.stop(t)

	eventually(t, func() error { return leads(t, second) })
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
}

// A leader that another one has taken the Lease from stops, and starts again when it gets the Lease back. Here that takes 9 s, a little
// more than a leader tries to renew.
func TestALeaderThatLosesTheLeaseGetsItBack(t *testing.T) {
	p := start(t)
	eventually(t, func() error { return leads(t, p) })
	stolen := fmt.Appendf(nil, `{"spec":{"holderIdentity":"another","leaseDurationSeconds":9,"renewTime":%q}}`, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	_, err := trial.Client().CoordinationV1().Leases(system.ProgramNamespace).Patch(t.Context(), leaseName, types.MergePatchType, stolen, metav1.PatchOptions{})
	require.NoError(t, err)

	eventually(t, func() error {
		if leads(t, p) == nil {
			return fmt.Errorf("it still leads")
		}
		return nil
	})
	require.NoError(t, p.get("/readyz"), "reviews go on")
	eventually(t, func() error { return leads(t, p) })
	ns := namespace(t, nil)
	create(t, ns, big("x"))
	assert.Equal(t, virtualNode, onNode(t, ns, "x"))
}

func leads(t *testing.T, p *process) error {
	t.Helper()
	if p.metric(t, "spillway_admission_leader") != 1 {
		return fmt.Errorf("it does not lead")
	}
	return nil
}

func reasons(t *testing.T, namespace, name string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, e := range ourEvents(t, namespace, name) {
		found[e.Reason] = true
	}
	return slices.Sorted(maps.Keys(found))
}
