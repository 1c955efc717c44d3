package provider

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// limitPods gives the account a quota of Pods, and returns the function that removes it.
func (h *harness) limitPods(most string) func() {
	return h.sim.Fault(h.t, ccisim.Fault{Kind: faults.Quota, Hard: corev1.ResourceList{
		corev1.ResourcePods: resource.MustParse(most),
	}})
}

// A quota says nothing about the Pod itself, so the Pod of a Job does not fail either.
func TestAPodBeyondAQuotaWaits(t *testing.T) {
	for shape, words := range map[string]string{
		"kubernetes": "exceeded quota: compute-resources", "plain": "the pods quota of the account is used up",
	} {
		for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyNever} {
			t.Run(fmt.Sprintf("%s, %s", shape, policy), func(t *testing.T) {
				h := newHarness(t)
				h.sim.Behave(t, func(p *ccisim.Policies) { p.QuotaErrors = faults.QuotaErrors(shape) })
				raise := h.limitPods("0")
				pod := h.put(newPod("web", restart(policy)))
				assert.Equal(t, refusalRetry, h.reconciles(pod))
				h.assertEvent("Warning CloudQuota", words, "larger quota")
				assert.Equal(t, corev1.PodPending, h.status().Phase)
				assert.Equal(t, "CloudQuota", h.status().Reason)
				assert.Contains(t, h.status().Message, words)
				assert.Contains(t, h.QuotaRefusals(), identity.KeyOf(pod))

				raise()
				h.clock = h.clock.Add(refusalRetry)
				assert.Zero(t, h.reconciles(pod))
				h.assertEvent("Normal CloudPodCreated")
				assert.Empty(t, h.QuotaRefusals())
			})
		}
	}
}

// One Pod that ends lets some others try, not all of a thousand. Each that is created lets more try.
func TestPodsThatWaitForAQuotaAreTriedWhenItMayHaveRoom(t *testing.T) {
	h := newHarness(t)
	raise := h.limitPods("0")
	h.rebuildLoop(func(identity.Key) {})
	var pods []*corev1.Pod
	for i := range 3 * quotaRetries {
		pod := h.put(newPod(fmt.Sprintf("web-%d", i)))
		h.reconciles(pod)
		pods = append(pods, pod)
	}
	require.Len(t, h.QuotaRefusals(), len(pods))
	raise()
	h.RetryQuota()
	created := 0
	for _, pod := range pods {
		if _, err := h.reconcilePod(pod); err == nil {
			created++
		}
	}
	assert.GreaterOrEqual(t, created, quotaRetries)
	assert.Len(t, h.sim.PodsEver(), created)
}
