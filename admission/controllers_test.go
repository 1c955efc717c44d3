package main

import (
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
		// past: the Pod got past the validation, which would have refused it.
		past bool
	}{
		"off": {
			func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "off"} },
			"LabelOff", corev1.EventTypeNormal, "remove or change the label", false,
		},
		"a hostPath without a replacement": {
			func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}}}
			},
			"HostPath", corev1.EventTypeNormal, "volume logs is a hostPath", false,
		},
		"a restriction against the Pod's own label": {
			func(p *corev1.Pod) {
				p.Labels = map[string]string{policy.BurstLabel: "enforce"}
				p.Spec.HostNetwork = true
			},
			"HostNamespace", corev1.EventTypeWarning, "hostNetwork needs a node of one's own", false,
		},
		"a malformed key": {
			func(p *corev1.Pod) { p.Annotations = map[string]string{policy.LocalReplicasAnnotation: "many"} },
			"InvalidPolicy", corev1.EventTypeWarning, `LOCAL_REPLICAS: invalid value "many"`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t, nil)
			pod := big("x")
			test.change(pod)
			if test.past {
				create(t, ns, pod)
			}
			p := start(t, func(c *Config) { c.Resync.Duration = time.Second })
			if !test.past {
				create(t, ns, pod)
			}

			event := told(t, ns, "x", test.reason)
			assert.Equal(t, test.kind, event.Type)
			assert.Contains(t, event.Message, test.words)
			assert.Contains(t, event.Message, "no local node fits")

			// Neither another look at the Pod nor another process says it again.
			p.stop(t)
			again := start(t, func(c *Config) { c.Resync.Duration = time.Second })
			eventually(t, func() error {
				if e := told(t, ns, "x", test.reason); !e.LastTimestamp.After(event.LastTimestamp.Time) {
					return fmt.Errorf("the new process has not looked at the Pod yet")
				}
				return nil
			})
			assert.Len(t, ourEvents(t, ns, "x"), 1)
			assert.Empty(t, get(t, ns, "x").Spec.NodeName)
			assert.Zero(t, again.metric(t, "spillway_admission_pods_explained_total", test.reason), "only what was said counts")
		})
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
	second := launch(t, func(c *Config) { c.HealthListen = freeAddress(t) })
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
	require.NoError(t, p.get("/readyz", nil), "reviews go on")
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
