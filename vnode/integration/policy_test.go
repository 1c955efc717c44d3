package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// setSwitch sets the global switch, and unsets it when the test ends. It is the same for all virtual nodes: a test that
// calls it does not run in parallel.
func setSwitch(t testing.TB, value string) {
	t.Helper()
	client := trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: policy.SwitchConfigMapName},
		Data:       map[string]string{policy.SwitchKey: value},
	}
	_, err := client.Create(t.Context(), config, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(t.Context(), config, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		err := client.Delete(context.Background(), policy.SwitchConfigMapName, metav1.DeleteOptions{})
		assert.True(t, err == nil || apierrors.IsNotFound(err), "%v", err)
	})
}

// A tenant cannot use the cloud against the switch or a label. There is no admission here: none of these Pods would be
// changed by it. What runs already goes on running, also over a restart.
func TestPodsThatReachTheNodeWithoutLeaveAreNotCreated(t *testing.T) {
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, func(c *Config) { c.Pods.RefusalRetry.Duration = time.Hour })
	create(t, ns, podOn(v.name(), "running"))
	await(t, ns, "running", isReady)
	setSwitch(t, "false")
	isRefused := func(reason policy.Reason) func(*corev1.Pod) error {
		return func(pod *corev1.Pod) error {
			err := errors.Join(hasPhase(corev1.PodPending)(pod), hasReason(string(reason))(pod))
			if err == nil && !hasEvent(t, ns, pod.Name, string(reason)) {
				err = errors.New("it has no Event")
			}
			return err
		}
	}
	// The node learns of the switch by a watch: a Pod that is created meanwhile would run.
	eventually(t, func() error {
		if strings.Contains(v.logs.String(), `"the global switch changed" switch=false`) {
			return nil
		}
		return errors.New("the switch is not known yet")
	})

	create(t, ns, podOn(v.name(), "by-node-name"))

	gated := podOn("", "by-gate")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/later"}}
	gated.Spec.Affinity = onlyOn(v.name())
	create(t, ns, gated)
	_, err := trial.Client().CoreV1().Pods(ns).Patch(t.Context(), "by-gate", types.JSONPatchType, []byte(
		`[{"op":"add","path":"/spec/tolerations/-","value":{"operator":"Exists"}},`+
			`{"op":"remove","path":"/spec/schedulingGates"}]`,
	), metav1.PatchOptions{})
	require.NoError(t, err)

	forged := podOn(v.name(), "by-owner")
	// The garbage collector deletes Pods whose owner does not exist, unless it does not know the kind of the owner.
	forged.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "DaemonSet", Name: "forged", UID: "forged", Controller: new(true)},
	}
	create(t, ns, forged)

	off := podOn(v.name(), "off")
	off.Labels[policy.BurstLabel] = string(policy.ModeOff)
	create(t, ns, off)

	await(t, ns, "by-node-name", isRefused(policy.ReasonSwitchOff))
	assert.Equal(t, v.name(), await(t, ns, "by-gate", isRefused(policy.ReasonSwitchOff)).Spec.NodeName)
	await(t, ns, "off", isRefused(policy.ReasonLabelOff))
	assert.Len(t, cloud.PodsEver(), 1)

	v.stop(t)
	v = start(t, v.again(t))
	await(t, ns, "by-node-name", isRefused(policy.ReasonSwitchOff))
	assert.NoError(t, isReady(get(t, ns, "running")))
	assert.Len(t, cloud.PodsEver(), 1, "nothing was created, and nothing twice")

	setSwitch(t, "true")
	await(t, ns, "by-node-name", isReady)
	await(t, ns, "by-gate", isReady)
	await(t, ns, "by-owner", isRefused(policy.ReasonDaemonSet))
	assert.NoError(t, isReady(get(t, ns, "running")))
	assert.Len(t, cloud.PodsEver(), 3)
}

func TestTheNamespaceDecidesAboutTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	annotate := func(key string, value any) {
		_, err := trial.Client().CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType,
			fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	annotate(policy.CloudLimitsAnnotation, "pods=0")
	annotate(policy.AllowCloudAnnotationsAnnotation, "yangtse.io/pod-with-eip")
	config := settings(t, cloud, nodeName(t)) // The node sees the annotations with its first list.
	config.Pods.RefusalRetry.Duration = time.Hour
	v := start(t, config)
	pod := podOn(v.name(), "web")
	pod.Annotations = map[string]string{"yangtse.io/pod-with-eip": "true", "yangtse.io/eip-bandwidth-size": "5"}
	create(t, ns, pod)
	await(t, ns, "web", hasReason(string(policy.ReasonCloudForbidden)))
	assert.Empty(t, cloud.PodsEver())

	annotate(policy.CloudLimitsAnnotation, "")
	await(t, ns, "web", isReady)
	found := cloudPod(t, cloud, get(t, ns, "web"))
	assert.Equal(t, "true", found.Annotations["yangtse.io/pod-with-eip"])
	assert.NotContains(t, found.Annotations, "yangtse.io/eip-bandwidth-size")
	awaitEvent(t, ns, "web", "CloudPodDiffers")
}
