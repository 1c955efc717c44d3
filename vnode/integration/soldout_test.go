package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const soldOutCondition = corev1.NodeConditionType(policy.ReasonSoldOut)

// soldOutNode starts a virtual node with a short sold-out timeout.
func soldOutNode(t *testing.T, cloud *cloudtest.Cloud, changes ...func(*config.SoldOutConfig)) *Config {
	t.Helper()
	cfg := settings(t, cloud, nodeName(t))
	cfg.SoldOut.Timeout.Duration = time.Second
	for _, change := range changes {
		change(&cfg.SoldOut)
	}
	start(t, cfg)
	return cfg
}

// awaitNode waits until the Node passes the check, and returns it.
func awaitNode(t *testing.T, name string, check func(*corev1.Node) error) *corev1.Node {
	t.Helper()
	var found *corev1.Node
	eventually(t, func() error {
		var err error
		if found, err = trial.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		return check(found)
	})
	return found
}

func hasCondition(kind corev1.NodeConditionType, status corev1.ConditionStatus) func(*corev1.Node) error {
	return func(object *corev1.Node) error {
		if c := node.FindCondition(object, kind); c == nil || c.Status != status {
			return fmt.Errorf("condition %s should be %s, and is %v", kind, status, c)
		}
		return nil
	}
}

func isLocked(object *corev1.Node) error {
	condition := node.FindCondition(object, soldOutCondition)
	switch {
	case !object.Spec.Unschedulable:
		return errors.New("the node is schedulable")
	case object.Annotations[policy.SoldOutUntilAnnotation] == "":
		return errors.New("the node does not have the end of its lock")
	case condition == nil || condition.Status != corev1.ConditionTrue:
		return fmt.Errorf("the condition is %v", condition)
	}
	return nil
}

func isUnlocked(reason string) func(*corev1.Node) error {
	return func(object *corev1.Node) error {
		condition := node.FindCondition(object, soldOutCondition)
		switch {
		case object.Spec.Unschedulable:
			return errors.New("the node is not schedulable")
		case object.Annotations[policy.SoldOutUntilAnnotation] != "":
			return errors.New("the node still has the end of its lock")
		case condition == nil || condition.Status != corev1.ConditionFalse || condition.Reason != reason:
			return fmt.Errorf("the condition is %v", condition)
		}
		return nil
	}
}

// replicaOn returns the Pod of a set on a node. The cluster does not have the kind of the set, so no controller and no
// garbage collector changes the Pod.
func replicaOn(node, name string) *corev1.Pod {
	pod := podOn(node, name)
	pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps.kruise.io/v1alpha1", Kind: "CloneSet", Name: name, UID: types.UID(name), Controller: new(true),
	}}
	return pod
}

// stay leaves stranded Pods where they are.
func stay(c *config.SoldOutConfig) { c.StrandedPods = policy.SoldOutWait }

// How the service reports that it has no capacity is not documented. The node is locked in every case.
func TestASoldOutCloudLocksTheNode(t *testing.T) {
	t.Parallel()
	const noRoom = "a probe of size 0.25_0.5 finds no room"
	for name, test := range map[string]struct {
		fault  ccisim.FaultKind
		silent bool // The status has no reason.
		signs  string
		want   string
	}{
		"a reason of the service":        {ccisim.SoldOut, false, "^Unschedulable$", noRoom},
		"a reason of its Events":         {ccisim.SoldOut, true, "^FailedScheduling$", noRoom},
		"Pods that wait for the timeout": {ccisim.SoldOut, false, "", noRoom},
		"subnets without free addresses": {ccisim.IPInsufficient, false, "", "have no address left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.SilentConditions = test.silent })
			cfg := soldOutNode(t, cloud, stay, func(c *config.SoldOutConfig) { c.Signs = test.signs })
			end := cloud.Fault(t, ccisim.Fault{Kind: test.fault})
			ns := namespace(t)
			create(t, ns, replicaOn(cfg.Node.Name, "web"))
			locked := awaitNode(t, cfg.Node.Name, isLocked)
			assert.Contains(t, node.FindCondition(locked, soldOutCondition).Message, test.want)
			until, err := time.Parse(time.RFC3339, locked.Annotations[policy.SoldOutUntilAnnotation])
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(time.Minute), until, 45*time.Second)
			awaitEvent(t, ns, "web", string(policy.ReasonSoldOut))
			awaitCloudPods(t, cloud, 1) // The probe is deleted.
			end()
			await(t, ns, "web", isReady)
			awaitNode(t, cfg.Node.Name, isUnlocked("RoomFound"))
		})
	}
}

// request sets the requests of the first container of a Pod.
func request(pod *corev1.Pod, cpu, memory string) {
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}
}

func TestOneSoldOutSizeDoesNotLockTheNode(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut, Path: "large"})
	ns := namespace(t)
	large := replicaOn(cfg.Node.Name, "large")
	request(large, "64", "512Gi")
	create(t, ns, large)
	create(t, namespace(t), replicaOn(cfg.Node.Name, "large-too"))
	awaitNode(t, cfg.Node.Name, func(n *corev1.Node) error {
		if err := isUnlocked("SizesSoldOut")(n); err != nil {
			return err
		}
		if message := node.FindCondition(n, soldOutCondition).Message; !strings.Contains(message, "0.50_1.0, 64.00_512.0") {
			return fmt.Errorf("the condition does not name both sizes: %s", message)
		}
		return nil
	})
	awaitEvent(t, ns, "large", string(policy.ReasonSoldOut))
	create(t, ns, podOn(cfg.Node.Name, "small"))
	await(t, ns, "small", isReady)
	awaitCloudPods(t, cloud, 3)
	assert.NoError(t, isUnlocked("SizesSoldOut")(awaitNode(t, cfg.Node.Name, isUnlocked("SizesSoldOut"))))
	probes := 0
	for _, pod := range cloud.PodsEver() {
		if pod.Name == cfg.Owner().ProbeName() {
			probes++
		}
	}
	assert.Positive(t, probes, "a probe has found room")
}

// Without a probe, only the Pods of several namespaces show that the cloud is sold out.
func TestTheSizesOfOneTenantDoNotLockTheNode(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud, stay, func(c *config.SoldOutConfig) { c.ProbeImage = "" })
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	ns := namespace(t)
	for i, size := range [][2]string{{"1", "1Gi"}, {"2", "2Gi"}, {"4", "4Gi"}, {"64", "512Gi"}} {
		pod := replicaOn(cfg.Node.Name, fmt.Sprintf("attack-%d", i))
		request(pod, size[0], size[1])
		create(t, ns, pod)
	}
	awaitNode(t, cfg.Node.Name, func(object *corev1.Node) error {
		if found := node.FindCondition(object, soldOutCondition); found == nil ||
			!strings.Contains(found.Message, "1.00_1.0, 2.00_2.0, 4.00_4.0, 64.00_512.0") {
			return fmt.Errorf("the condition is %v", found)
		}
		return isUnlocked("SizesSoldOut")(object)
	})
	create(t, namespace(t), replicaOn(cfg.Node.Name, "other"))
	locked := awaitNode(t, cfg.Node.Name, isLocked)
	assert.Contains(t, node.FindCondition(locked, soldOutCondition).Message, "Pods of 2 namespaces find no room")
}

func TestTheLockEndsAutomaticallyAndReturnsForLonger(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud, stay, func(c *config.SoldOutConfig) { c.FirstLock.Duration = 3 * time.Second })
	end := cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	ns := namespace(t)
	create(t, ns, replicaOn(cfg.Node.Name, "web"))
	first := awaitNode(t, cfg.Node.Name, isLocked)
	assert.Equal(t, "3s", first.Annotations[policy.SoldOutLockAnnotation])
	awaitNode(t, cfg.Node.Name, isUnlocked("LockEnded"))
	second := awaitNode(t, cfg.Node.Name, isLocked)
	assert.Equal(t, "6s", second.Annotations[policy.SoldOutLockAnnotation])
	end()
	await(t, ns, "web", isReady)
	awaitNode(t, cfg.Node.Name, func(object *corev1.Node) error {
		if _, ok := object.Annotations[policy.SoldOutLockAnnotation]; ok || object.Spec.Unschedulable {
			return errors.New("the node still has its last lock")
		}
		return hasCondition(soldOutCondition, corev1.ConditionFalse)(object)
	})
}

func TestUncordonEndsTheLock(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud, stay)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	ns := namespace(t)
	create(t, ns, replicaOn(cfg.Node.Name, "web"))
	awaitNode(t, cfg.Node.Name, isLocked)
	remove(t, ns, "web")
	schedulable(t, cfg.Node.Name, true)
	awaitNode(t, cfg.Node.Name, isUnlocked("Uncordoned"))
}

func TestALockSurvivesARestartAndAManualCordonIsKept(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := settings(t, cloud, nodeName(t))
	cfg.SoldOut.Timeout.Duration, cfg.SoldOut.Lock.Duration = time.Second, 5*time.Second
	cfg.SoldOut.StrandedPods = policy.SoldOutWait
	first := start(t, cfg)
	end := cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	ns := namespace(t)
	create(t, ns, replicaOn(cfg.Node.Name, "web"))
	awaitNode(t, cfg.Node.Name, isLocked)
	first.stop(t)
	end()
	eventually(t, func() error { // An address from before the start is no sign that the cloud has room now.
		page, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
		if err == nil && slices.ContainsFunc(page.Items, func(pod cci.Pod) bool { return pod.Status.PodIP == "" }) {
			err = errors.New("a cloud Pod has no address")
		}
		return err
	})
	start(t, first.again(t))
	awaitNode(t, cfg.Node.Name, isUnlocked("LockEnded"))

	schedulable(t, cfg.Node.Name, false)
	again := cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	create(t, ns, replicaOn(cfg.Node.Name, "late"))
	cordoned := awaitNode(t, cfg.Node.Name, hasCondition(soldOutCondition, corev1.ConditionTrue))
	assert.NotContains(t, cordoned.Annotations, policy.SoldOutUntilAnnotation, "a manual cordon has no end")
	again()
	cordoned = awaitNode(t, cfg.Node.Name, hasCondition(soldOutCondition, corev1.ConditionFalse))
	assert.True(t, cordoned.Spec.Unschedulable, "a manual cordon is not removed")
}

// A process that has crashed may leave its probe in the cloud. The next one deletes it.
func TestAProbeThatIsLeftIsDeleted(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := settings(t, cloud, nodeName(t))
	first := start(t, cfg)
	first.stop(t)
	translator, err := translate.New(cfg.Translation())
	require.NoError(t, err)
	left, err := soldout.NewProbe(translator, cfg.Owner(), "pause")
	require.NoError(t, err)
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, left)
	require.NoError(t, err)
	start(t, first.again(t))
	awaitCloudPods(t, cloud, 0)
}

// schedulable cordons or uncordons a Node, as kubectl does.
func schedulable(t *testing.T, name string, can bool) {
	t.Helper()
	_, err := trial.Client().CoreV1().Nodes().Patch(t.Context(), name, types.StrategicMergePatchType,
		fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !can), metav1.PatchOptions{})
	require.NoError(t, err)
}

func TestStrandedPodsAreRescheduledIfConfigured(t *testing.T) {
	t.Parallel()
	// The cluster does not have these kinds, so no controller and no garbage collector changes the Pods.
	set := metav1.OwnerReference{APIVersion: "apps.kruise.io/v1alpha1", Kind: "CloneSet", Name: "web", UID: "1",
		Controller: new(true)}
	job := metav1.OwnerReference{APIVersion: "batch.volcano.sh/v1alpha1", Kind: "Job", Name: "batch", UID: "2",
		Controller: new(true)}
	for name, test := range map[string]struct {
		byDefault  policy.OnSoldOut
		annotation string
		owner      *metav1.OwnerReference
		evicted    bool
	}{
		"a Pod of a set is rescheduled by default":                {policy.SoldOutReschedule, "", &set, true},
		"a Pod of a set waits if its annotation says so":          {policy.SoldOutReschedule, "wait", &set, false},
		"a Pod of a set is rescheduled if its annotation says so": {policy.SoldOutWait, "reschedule", &set, true},
		"a Pod of a set waits if the node is configured so":       {policy.SoldOutWait, "", &set, false},
		"an invalid annotation evicts nothing":                    {policy.SoldOutReschedule, "rescedule", &set, false},
		"a Pod of a Job waits by default":                         {policy.SoldOutReschedule, "", &job, false},
		"a Pod without an owner waits":                            {policy.SoldOutReschedule, "reschedule", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			cfg := soldOutNode(t, cloud, func(c *config.SoldOutConfig) { c.StrandedPods = test.byDefault })
			cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
			schedulable(t, cfg.Node.Name, false)
			ns := namespace(t)
			pod := podOn(cfg.Node.Name, "web")
			if test.annotation != "" {
				pod.Annotations = map[string]string{policy.OnSoldOutAnnotation: test.annotation}
			}
			if test.owner != nil {
				pod.OwnerReferences = []metav1.OwnerReference{*test.owner}
			}
			made := create(t, ns, pod)
			awaitEvent(t, ns, "web", string(policy.ReasonSoldOut))
			if !test.evicted {
				assert.Nil(t, get(t, ns, "web").DeletionTimestamp)
				return
			}
			eventually(t, func() error {
				found, err := trial.Client().CoreV1().Pods(ns).Get(t.Context(), "web", metav1.GetOptions{})
				if apierrors.IsNotFound(err) || err == nil && found.UID != made.UID {
					return nil
				}
				return errors.Join(err, errors.New("it still exists"))
			})
			eventually(t, func() error {
				page, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
				if err == nil && len(page.Items) > 0 {
					err = fmt.Errorf("%d Pods are left in the cloud", len(page.Items))
				}
				return err
			})
		})
	}
}

// One of two clouds is sold out: its Pods are evicted once its node is locked, and the scheduler places them on the
// other node.
func TestStrandedPodsMoveToAnotherVirtualNode(t *testing.T) {
	t.Parallel()
	full, free := cloudtest.New(t), cloudtest.New(t)
	full.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	locked := soldOutNode(t, full).Node.Name
	other, ns := startOn(t, free)
	schedulable(t, other.name(), false)
	deploy(t, ns, 3, locked, other.name())
	awaitNode(t, locked, isLocked)
	schedulable(t, other.name(), true)
	awaitReplicas(t, ns, 3)
	awaitCloudPods(t, free, 3)
	awaitCloudPods(t, full, 0)
}

func awaitEvent(t *testing.T, namespace, pod, reason string) {
	t.Helper()
	eventually(t, func() error {
		if !hasEvent(t, namespace, pod, reason) {
			return fmt.Errorf("no event %s", reason)
		}
		return nil
	})
}

func hasEvent(t *testing.T, namespace, pod, reason string) bool {
	t.Helper()
	events, err := trial.Client().CoreV1().Events(namespace).List(context.Background(), metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
	})
	require.NoError(t, err)
	return len(events.Items) > 0
}
