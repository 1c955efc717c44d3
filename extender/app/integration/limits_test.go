package integration

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// limit sets the cloud limits of the namespace.
func limit(t *testing.T, trial *system.System, limits string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, policy.CloudLimitsAnnotation, limits)
	_, err := trial.Client().CoreV1().Namespaces().Patch(
		t.Context(), "default", types.MergePatchType, patch, metav1.PatchOptions{})
	require.NoError(t, err)
}

func cloudOnly(t *testing.T, trial *system.System, name string) {
	t.Helper()
	_, err := trial.Client().CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{policy.BurstLabel: string(policy.ModeEnforce)}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// sentToCloud calls Filter for all Pods at once, and returns those that may go to the virtual node.
func (r *replica) sentToCloud(t *testing.T, trial *system.System) map[string]bool {
	t.Helper()
	pods, err := trial.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var calls sync.WaitGroup
	var mu sync.Mutex
	sent := map[string]bool{}
	for _, pod := range pods.Items {
		calls.Go(func() {
			var result placement.FilterResult
			assert.Eventually(t, func() (answered bool) { // As the scheduler, it retries a Pod without an answer.
				var err error
				result, err = r.Placement.Filter(t.Context(), &pod, everyNode())
				return err == nil
			}, timeout, 50*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if len(result.Names) > 0 {
				sent[pod.Name] = true
				return
			}
			assert.Equal(t, policy.ReasonCloudLimits, result.Reason)
			assert.Contains(t, result.Refusal, policy.CloudLimitsAnnotation)
		})
	}
	calls.Wait()
	return sent
}

// requeued returns how many Pods have been requeued.
func requeued(t *testing.T, trial *system.System) int {
	t.Helper()
	pods, err := trial.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	count := 0
	for _, pod := range pods.Items {
		if pod.Annotations[policy.RequeueAnnotation] != "" {
			count++
		}
	}
	return count
}

// TestABurstOfPodsKeepsTheLimitsOfItsNamespace: many Pods at once, another leader, a Pod that ends, and limits that are
// raised.
func TestABurstOfPodsKeepsTheLimitsOfItsNamespace(t *testing.T) {
	trial := startAPI(t)
	limit(t, trial, "pods=2")
	first := startReplica(t, trial, "first")
	first.awaitLead(t)
	for i := range 8 {
		cloudOnly(t, trial, fmt.Sprint("pod-", i))
	}
	require.Eventually(t, func() bool {
		accounts := first.Ledger.Stats().Accounts
		return len(accounts) == 1 && accounts[0].Limits.String() == "pods=2"
	}, timeout, 10*time.Millisecond)
	sent := first.sentToCloud(t, trial)
	assert.Len(t, sent, 2)
	first.stop()

	second := startReplica(t, trial, "second")
	second.awaitLead(t)
	assert.Equal(t, sent, second.sentToCloud(t, trial), "the next leader reads the slots from the Pods")
	assert.Zero(t, requeued(t, trial))
	for name := range sent {
		require.NoError(t, trial.Client().CoreV1().Pods("default").Delete(
			t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
		break
	}
	require.Eventually(t, func() bool { return requeued(t, trial) == 1 }, timeout, 10*time.Millisecond)
	limit(t, trial, "pods=4")
	require.Eventually(t, func() bool { return requeued(t, trial) == 3 }, timeout, 10*time.Millisecond,
		"one Pod that was requeued before has not come back yet, so two more have room")
}
