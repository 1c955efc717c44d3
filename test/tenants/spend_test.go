package tenants

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// annotate sets an annotation of a tenant's Namespace as the administrator, until the test ends.
func annotate(t *testing.T, tenant, key, value string) {
	t.Helper()
	set := func(value string) error {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, key, value)
		_, err := admin.CoreV1().Namespaces().Patch(t.Context(), tenant, types.MergePatchType, patch,
			metav1.PatchOptions{})
		return err
	}
	require.NoError(t, set(fmt.Sprintf("%q", value)))
	t.Cleanup(func() {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, key)
		_, err := admin.CoreV1().Namespaces().Patch(cleanup(), tenant, types.MergePatchType, patch,
			metav1.PatchOptions{})
		assert.NoError(t, err)
	})
}

// turnSwitch sets the global switch until the test ends.
func turnSwitch(t *testing.T, value string) {
	t.Helper()
	maps := admin.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	_, err := maps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: policy.SwitchConfigMapName},
		Data:       map[string]string{policy.SwitchKey: value},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, maps.Delete(cleanup(), policy.SwitchConfigMapName, metav1.DeleteOptions{}))
	})
}

// staysOut checks that a Pod on a virtual node is refused with a reason, and has no cloud Pod.
func staysOut(t *testing.T, pod *corev1.Pod, reason policy.Reason) {
	t.Helper()
	t.Logf("%s reads: %s", mallory, awaitEvent(t, pod, string(reason)))
	awaitPod(t, pod, "show the reason "+string(reason), func(p *corev1.Pod) bool {
		for _, status := range p.Status.ContainerStatuses {
			if status.State.Waiting != nil && status.State.Waiting.Reason == string(reason) {
				return true
			}
		}
		return p.Status.Reason == string(reason)
	})
	assert.Nil(t, cloudPod(t, pod))
}

// byNodeName creates a Pod on a virtual node without the scheduler. A policy refuses it from the tenant, so the
// administrator does: vnode is the last line of a cluster without policies.
func byNodeName(t *testing.T, client kubernetes.Interface, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	if pod.Spec.NodeName == "" {
		pod.Spec.NodeName = system.VirtualNode(0)
	}
	_, err := client.CoreV1().Pods(mallory).Create(t.Context(), pod, metav1.CreateOptions{})
	require.ErrorContains(t, err, "only the scheduler binds Pods to virtual nodes")
	return create(t, admin, mallory, pod)
}

func TestNobodyUsesTheCloudWithoutLeave(t *testing.T) {
	attack(t, "nodeName does not pass over a switch that is off", func(t *testing.T, client kubernetes.Interface) {
		running := create(t, as(t, alice), alice, enforced("before"))
		running = awaitPod(t, running, "run", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		turnSwitch(t, "false")
		staysOut(t, byNodeName(t, client, plain("named")), policy.ReasonSwitchOff)
		again, err := admin.CoreV1().Pods(alice).Get(t.Context(), running.Name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, corev1.PodRunning, again.Status.Phase, "what runs goes on running")
	})
	attack(t, "nodeName does not pass over a burst label that is off", func(t *testing.T, client kubernetes.Interface) {
		pod := plain("off")
		pod.Labels[policy.BurstLabel] = string(policy.ModeOff)
		staysOut(t, byNodeName(t, client, pod), policy.ReasonLabelOff)
	})
	attack(t, "a forged DaemonSet as the owner does not pass over the restriction", func(t *testing.T,
		client kubernetes.Interface) {
		pod := plain("daemon")
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "DaemonSet", Name: "forged", UID: "forged", Controller: new(true),
		}}
		created := byNodeName(t, client, pod)
		// The garbage collector deletes a Pod whose owner does not exist, so its Event is all that remains.
		t.Logf("%s reads: %s", mallory, awaitEvent(t, created, string(policy.ReasonDaemonSet)))
		assert.Nil(t, cloudPod(t, created))
	})
	attack(t, "a toleration added behind a scheduling gate does not pass over the switch", func(t *testing.T,
		client kubernetes.Interface) {
		turnSwitch(t, "false")
		pod := plain("gated")
		pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "mallory.example/gate"}}
		pod.Spec.NodeSelector = nil
		created := create(t, client, mallory, pod)
		toleration := policy.ProviderToleration()
		patch := fmt.Appendf(nil, `[{"op":"add","path":"/spec/tolerations/-","value":{"key":%q,"operator":"Exists",`+
			`"effect":"NoSchedule"}},{"op":"add","path":"/spec/nodeSelector","value":{"type":"virtual-kubelet"}},`+
			`{"op":"remove","path":"/spec/schedulingGates"}]`, toleration.Key)
		_, err := client.CoreV1().Pods(mallory).Patch(t.Context(), created.Name, types.JSONPatchType, patch,
			metav1.PatchOptions{})
		require.ErrorContains(t, err, "the toleration of virtual nodes must not be added to a Pod that exists")
		_, err = admin.CoreV1().Pods(mallory).Patch(t.Context(), created.Name, types.JSONPatchType, patch,
			metav1.PatchOptions{})
		require.NoError(t, err)
		staysOut(t, created, policy.ReasonSwitchOff)
	})
	attack(t, "a namespace that may not use the cloud stays out of it", func(t *testing.T,
		client kubernetes.Interface) {
		annotate(t, mallory, policy.CloudLimitsAnnotation, "pods=0")
		awaitKeptLocal(t, create(t, client, mallory, enforced("forbidden")), policy.ReasonCloudForbidden)
		staysOut(t, byNodeName(t, client, enforced("forbidden")), policy.ReasonCloudForbidden)
		_, err := client.CoreV1().Namespaces().Patch(t.Context(), mallory, types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"spillway.io/cloud-limits":null}}}`), metav1.PatchOptions{})
		assert.True(t, apierrors.IsForbidden(err), "a tenant does not own its Namespace: %v", err)
	})
	attack(t, "a size far beyond the need is not billed", func(t *testing.T, client kubernetes.Interface) {
		pod := enforced("oversized")
		pod.Spec.Containers[0].Resources = requests("10m", "16Mi")
		pod.Annotations[policy.FlavorAnnotation] = "64.00_512.0"
		created := create(t, client, mallory, pod)
		awaitKeptLocal(t, created, "")
		assert.Nil(t, cloudPod(t, created))
		created = byNodeName(t, client, pod.DeepCopy())
		t.Logf("%s reads: %s", mallory, awaitEvent(t, created, "64.00_512.0"))
		assert.Nil(t, cloudPod(t, created))
	})
	attack(t, "an annotation that opens the network does not reach the cloud", func(t *testing.T,
		client kubernetes.Interface) {
		pod := enforced("open")
		pod.Annotations["yangtse.io/pod-with-eip"] = "true"
		created := create(t, client, mallory, pod)
		awaitPod(t, created, "run", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		cloud := cloudPod(t, created)
		require.NotNil(t, cloud)
		assert.NotContains(t, cloud.Annotations, "yangtse.io/pod-with-eip")
		t.Logf("%s reads: %s", mallory, awaitEvent(t, created, "yangtse.io/pod-with-eip"))
	})
}

// awaitKeptLocal waits until the Pod is on a local node, or its condition says why it may go to no other.
func awaitKeptLocal(t *testing.T, pod *corev1.Pod, reason policy.Reason) {
	t.Helper()
	var said string
	awaitPod(t, pod, "stay local", func(p *corev1.Pod) bool {
		if p.Spec.NodeName != "" {
			return !isVirtual(p.Spec.NodeName)
		}
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				said = condition.Message
			}
		}
		return said != "" && strings.Contains(said, string(reason))
	})
	t.Logf("%s reads: %s", mallory, said)
	assert.Less(t, len(said), messageBound)
}

// deployment returns a Deployment of Pods.
func deployment(name string, replicas int32, pod *corev1.Pod) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	for key, value := range pod.Labels {
		labels[key] = value
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: pod.Annotations}, Spec: pod.Spec,
			},
		},
	}
}

// inCloud returns the Pods of a tenant that have a cloud Pod.
func inCloud(t *testing.T, tenant string) int {
	t.Helper()
	var count int
	for _, cloud := range cloudPods(t) {
		if cloud.Annotations[policy.CloudNamespaceAnnotation] == tenant {
			count++
		}
	}
	return count
}

func TestNobodySpendsMoreThanTheLimits(t *testing.T) {
	attack(t, "a burst of thirty Pods runs three of them, and one more when one ends", func(t *testing.T,
		client kubernetes.Interface) {
		annotate(t, mallory, policy.CloudLimitsAnnotation, "pods=3")
		_, err := client.AppsV1().Deployments(mallory).Create(t.Context(), deployment("burst", 30, enforced("burst")),
			metav1.CreateOptions{})
		require.NoError(t, err)
		waitUntil(t, "three Pods to run and the others to wait with the reason", func() bool {
			running, waiting := 0, 0
			for _, pod := range pods(t, mallory) {
				switch {
				case pod.Status.Phase == corev1.PodRunning && isVirtual(pod.Spec.NodeName):
					running++
				case policy.RefusedByExtender(&pod) && strings.Contains(conditionOf(&pod),
					string(policy.ReasonCloudLimits)):
					waiting++
				}
			}
			require.LessOrEqual(t, inCloud(t, mallory), 3)
			return running == 3 && waiting == 27
		})
		for _, pod := range pods(t, mallory) {
			if pod.Status.Phase == corev1.PodRunning {
				require.NoError(t, client.CoreV1().Pods(mallory).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}))
				waitUntil(t, "another Pod to run", func() bool {
					running := 0
					for _, other := range pods(t, mallory) {
						if other.UID != pod.UID && other.Status.Phase == corev1.PodRunning {
							running++
						}
					}
					require.LessOrEqual(t, inCloud(t, mallory), 4, "a Pod that ends is deleted in the cloud later")
					return running == 3
				})
				break
			}
		}
	})
	attack(t, "billed sizes count, on all virtual nodes together", func(t *testing.T, client kubernetes.Interface) {
		annotate(t, mallory, policy.CloudLimitsAnnotation, "cpu=1")
		pod := enforced("cores")
		pod.Spec.Containers[0].Resources = requests("300m", "256Mi") // Billed as 0.5 cores.
		_, err := client.AppsV1().Deployments(mallory).Create(t.Context(), deployment("cores", 6, pod),
			metav1.CreateOptions{})
		require.NoError(t, err)
		waitUntil(t, "two Pods to run and four to wait", func() bool {
			require.LessOrEqual(t, inCloud(t, mallory), 2)
			waiting := 0
			for _, pod := range pods(t, mallory) {
				if strings.Contains(conditionOf(&pod), string(policy.ReasonCloudLimits)) {
					waiting++
				}
			}
			return inCloud(t, mallory) == 2 && waiting == 4
		})
	})
	attack(t, "nodeName does not pass over the limits, and a slot cannot be forged", func(t *testing.T,
		client kubernetes.Interface) {
		annotate(t, mallory, policy.CloudLimitsAnnotation, "pods=1")
		for range 3 {
			created := byNodeName(t, client, enforced("named"))
			for _, key := range []string{policy.CloudSlotAnnotation, policy.LocalSlotAnnotation} {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, created.UID)
				_, err := client.CoreV1().Pods(mallory).Patch(t.Context(), created.Name, types.MergePatchType, patch,
					metav1.PatchOptions{})
				require.Error(t, err)
				assert.Contains(t, err.Error(), key)
			}
			staysOut(t, created, policy.ReasonNotCounted)
		}
		assert.LessOrEqual(t, inCloud(t, mallory), 1)
	})
}

func TestNobodyTakesTheSlotsOfOthers(t *testing.T) {
	attack(t, "a forged owner takes no slot of another tenant's quota", func(t *testing.T,
		client kubernetes.Interface) {
		pod := plain("web")
		pod.Annotations[policy.LocalReplicasAnnotation] = "1"
		// Nothing of alice runs yet: what mallory does first must not count for her.
		made, err := as(t, alice).AppsV1().Deployments(alice).Create(t.Context(), deployment("web", 0, pod),
			metav1.CreateOptions{})
		require.NoError(t, err)
		var owner *appsv1.ReplicaSet
		waitUntil(t, "the ReplicaSet of alice", func() bool {
			sets, err := admin.AppsV1().ReplicaSets(alice).
				List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
			if err == nil && len(sets.Items) == 1 {
				owner = &sets.Items[0]
			}
			return owner != nil
		})
		for range 3 {
			forged := pod.DeepCopy()
			forged.Annotations[policy.LocalReplicasAnnotation] = "9"
			forged.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner.Name, UID: owner.UID, Controller: new(true),
			}}
			_, err := client.CoreV1().Pods(mallory).Create(t.Context(), forged, metav1.CreateOptions{})
			require.NoError(t, err)
		}
		scale := fmt.Appendf(nil, `{"spec":{"replicas":2}}`)
		_, err = as(t, alice).AppsV1().Deployments(alice).Patch(t.Context(), made.Name, types.MergePatchType, scale,
			metav1.PatchOptions{})
		require.NoError(t, err)
		waitUntil(t, "one local replica of alice and one in the cloud", func() bool {
			local, cloud := 0, 0
			for _, pod := range pods(t, alice) {
				switch {
				case pod.Spec.NodeName == "":
				case isVirtual(pod.Spec.NodeName):
					cloud++
				default:
					local++
				}
			}
			return local == 1 && cloud == 1
		})
		removeAll(t, alice)
	})
}

func TestOnePodMustNotLockTheNode(t *testing.T) {
	attack(t, "a Pod that no size holds takes no room of the node", func(t *testing.T, client kubernetes.Interface) {
		for node := range 2 {
			pod := plain("huge")
			pod.Spec.NodeName = system.VirtualNode(node)
			pod.Spec.Containers[0].Resources = requests("999", "3900Gi")
			created := byNodeName(t, client, pod)
			failed := awaitPod(t, created, "fail",
				func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
			t.Logf("%s reads: %s", mallory, failed.Status.Message)
		}
		aliceBursts(t)
	})
	unlocked := func(t *testing.T) {
		t.Helper()
		nodes, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{
			LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual,
		})
		require.NoError(t, err)
		require.Len(t, nodes.Items, 2)
		for _, node := range nodes.Items {
			require.False(t, node.Spec.Unschedulable, "%s is locked: %+v", node.Name, node.Status.Conditions)
		}
	}
	attack(t, "Pods of sizes that the cloud does not have lock nothing", func(t *testing.T,
		client kubernetes.Interface) {
		simulate(t, `{"kind":"soldOut","path":"pods/mallory-unsold"}`)
		lonely := create(t, client, mallory, enforced("unsold"))
		for i, cpu := range []string{"300m", "700m", "1500m", "3", "7"} {
			pod := enforced("unsold")
			pod.Spec.Containers[0].Resources = requests(cpu, "1Gi")
			_, err := client.AppsV1().Deployments(mallory).Create(t.Context(),
				deployment(fmt.Sprintf("unsold-%d", i), 2, pod), metav1.CreateOptions{})
			require.NoError(t, err)
		}
		awaitPod(t, lonely, "have a cloud Pod", func(p *corev1.Pod) bool { return cloudPod(t, p) != nil })
		for range 3 {
			unlocked(t)
			aliceBursts(t)
		}
		unlocked(t)
	})
}

func pods(t *testing.T, tenant string) []corev1.Pod {
	t.Helper()
	list, err := admin.CoreV1().Pods(tenant).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	return list.Items
}

func conditionOf(pod *corev1.Pod) string {
	if condition := policy.PodCondition(pod, corev1.PodScheduled); condition != nil {
		return condition.Message
	}
	return ""
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 2*programtest.Timeout, tick, "waiting for %s", what)
}
