package provider

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// withPrices gives a Provider prices: a Pod of the default size, 0.50_1.0, costs 3.6 for an hour.
func withPrices(h *harness) {
	table, err := prices.New(prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "5", GiBHour: "1.1"},
	})
	require.NoError(h.t, err)
	h.Provider.config.Prices = table
	h.registry.MustRegister(costCollector{h.Provider})
}

// end reports the end of a Pod that has run for some seconds, and returns the Pod as it is in the cluster then.
func (h *harness) end(pod *corev1.Pod, cloud *cci.Pod, seconds int) *corev1.Pod {
	h.t.Helper()
	start := metav1.NewTime(time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC))
	started := *cloud
	started.Status.StartTime = &start
	h.setCloud(&started)
	ended := pod.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	ended.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			FinishedAt: metav1.NewTime(start.Add(time.Duration(seconds) * time.Second)),
		}},
	}}
	_, err := h.PodsGetter().Pods("default").UpdateStatus(h.t.Context(), ended, metav1.UpdateOptions{})
	require.NoError(h.t, err)
	written, err := h.client.CoreV1().Pods("default").Get(h.t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(h.t, err)
	require.NoError(h.t, h.store.Update(written))
	return written
}

func (h *harness) costs(t *testing.T) string {
	t.Helper()
	var lines []string
	families, err := h.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if name := family.GetName(); name == "spillway_vnode_ended_pods_cost_total" {
			for _, m := range family.GetMetric() {
				lines = append(lines, fmt.Sprintf("%s %s %.4f", m.GetLabel()[1].GetValue(), m.GetLabel()[0].GetValue(),
					m.GetCounter().GetValue()))
			}
		}
	}
	return strings.Join(lines, "\n")
}

func TestWhatAPodHasCostIsOnItWhenItEnds(t *testing.T) {
	h := newHarness(t)
	withPrices(h)
	pod := newPod("job", restart(corev1.RestartPolicyNever))
	cloud := h.run(pod)
	assert.InDelta(t, 3.6, testutil.ToFloat64(onlyPrice{costCollector{h.Provider}}), 1e-9, "while it runs")
	written := h.end(pod, cloud, 1800)
	assert.Equal(t, "1.800000 CNY", written.Annotations[policy.CostAnnotation])
	assert.Equal(t, corev1.PodSucceeded, written.Status.Phase)
	assert.Equal(t, "default CNY 1.8000", h.costs(t))

	patches := 0
	for _, action := range h.client.Actions() {
		if action.Matches("patch", "pods/status") {
			patches++
		}
	}
	assert.Equal(t, 1, patches, "the status and the cost are one write")

	h.end(pod, cloud, 3600)
	assert.Equal(t, "default CNY 1.8000", h.costs(t), "a Pod is counted once")
}

// onlyPrice collects the price of an hour alone.
type onlyPrice struct{ costCollector }

func (onlyPrice) Describe(descs chan<- *prometheus.Desc) { descs <- priceDesc }

// A process that has started anew finds the cost on the Pod that has ended, and counts nothing.
func TestAPodThatHadEndedBeforeARestartIsNotCounted(t *testing.T) {
	before := newHarness(t)
	withPrices(before)
	pod := newPod("job", restart(corev1.RestartPolicyNever))
	cloud := before.run(pod)
	written := before.end(pod, cloud, 1800)

	after := newHarness(t)
	withPrices(after)
	after.put(written)
	after.setCloud(cloud)
	after.end(written, cloud, 3600)
	assert.Empty(t, after.costs(t))
}

func TestWithoutAPriceOrAStartThereIsNoCost(t *testing.T) {
	h := newHarness(t)
	pod := newPod("job", restart(corev1.RestartPolicyNever))
	cloud := h.run(pod)
	ended := corev1.PodStatus{Phase: corev1.PodSucceeded}
	assert.Nil(t, h.costOf(identity.KeyOf(pod), &ended), "there are no prices")
	withPrices(h)
	assert.NotNil(t, h.costOf(identity.KeyOf(pod), &ended))
	assert.Nil(t, h.costOf(identity.KeyOf(pod), &corev1.PodStatus{Phase: corev1.PodRunning}), "it has not ended")
	never := *cloud
	never.Status.StartTime = nil
	h.setCloud(&never)
	assert.Nil(t, h.costOf(identity.KeyOf(pod), &ended), "it has never started")
	assert.Nil(t, h.costOf(identity.KeyOf(newPod("other")), &ended), "there is no cloud Pod")
}

func TestAPodThatIsDeletedCostsUntilNow(t *testing.T) {
	h := newHarness(t)
	withPrices(h)
	pod := newPod("web")
	cloud := h.run(pod)
	started := *cloud
	started.Status.StartTime = &metav1.Time{Time: h.clock.Add(-time.Hour)}
	h.recordGone(identity.KeyOf(pod), &started)
	got := h.costOf(identity.KeyOf(pod), &corev1.PodStatus{Phase: corev1.PodFailed})
	require.NotNil(t, got)
	assert.Equal(t, "3.600000", prices.Exact(got))
}

func TestTheNamespacesOfCostsAreBounded(t *testing.T) {
	c := costs{ended: map[string]*big.Rat{}}
	for i := range maxCostNamespaces + 5 {
		c.add(fmt.Sprint("ns-", i), big.NewRat(1, 2))
		c.add("ns-0", big.NewRat(1, 2))
	}
	got := c.snapshot()
	assert.Len(t, got, maxCostNamespaces+1)
	assert.Equal(t, "2.500000", prices.Exact(got[otherNamespaces]))
	assert.Equal(t, "503.000000", prices.Exact(got["ns-0"]))
}
