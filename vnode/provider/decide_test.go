package provider

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// None of these Pods has been seen by the webhook or the extender: their authors wrote the nodeName.
func TestPolicyHoldsForPodsThatComeByTheirNodeName(t *testing.T) {
	label := func(mode string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Labels = map[string]string{policy.BurstLabel: mode} }
	}
	annotation := func(key, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations = map[string]string{key: value} }
	}
	for name, test := range map[string]struct {
		global      policy.Switch
		annotations map[string]string
		labels      map[string]string
		change      func(*corev1.Pod)
		want        policy.Reason // empty if it is created
		waits       bool          // also with a restartPolicy that would let it fail
	}{
		"the switch is on":    {global: policy.SwitchOn},
		"the switch is unset": {},
		"the switch is off":   {global: policy.SwitchOff, want: policy.ReasonSwitchOff, waits: true},
		"the switch is off, but on for the Pod": {
			global: policy.SwitchOff, change: annotation(policy.SwitchKey, "true"),
		},
		"the label is off":     {change: label("off"), want: policy.ReasonLabelOff},
		"the label is enforce": {global: policy.SwitchOff, change: label("enforce")},
		"the namespace enforces": {
			global: policy.SwitchOff, labels: map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue},
		},
		"a malformed label":  {change: label("on"), want: policy.ReasonInvalid},
		"a malformed switch": {change: annotation(policy.SwitchKey, "yes"), want: policy.ReasonInvalid},
		"a malformed quota":  {change: annotation(policy.LocalReplicasAnnotation, "x"), want: policy.ReasonInvalid},
		"a protected namespace": {
			change: func(p *corev1.Pod) { p.Namespace = "kube-system" }, want: policy.ReasonProtectedNamespace,
		},
		"a restriction of the cloud": {
			change: func(p *corev1.Pod) { p.Spec.HostNetwork = true }, want: policy.ReasonHostNamespace,
		},
		"a forged owner of kind DaemonSet": {change: func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "forged", UID: "forged", Controller: new(true)},
			}
		}, want: policy.ReasonDaemonSet},
		"the namespace may not use the cloud": {
			annotations: map[string]string{policy.CloudLimitsAnnotation: "pods=0"},
			want:        policy.ReasonCloudForbidden, waits: true,
		},
		"a malformed setting of the namespace": {
			annotations: map[string]string{policy.AllowOversizeAnnotation: "yes"},
			want:        policy.ReasonInvalidNamespace, waits: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restartPolicy := range []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyNever} {
				h := newHarness(t)
				h.facts.global, h.facts.labels = test.global, test.labels
				h.facts.annotations["kube-system"], h.facts.annotations["default"] = nil, test.annotations
				pod := newPod("web", restart(restartPolicy))
				if test.change != nil {
					test.change(pod)
				}
				requeueAfter := h.reconciles(h.put(pod))
				if test.want == "" {
					h.assertEvent("Normal CloudPodCreated")
					continue
				}
				assert.Zero(t, h.cloud.calls["create"])
				h.assertEvent("Warning " + string(test.want))
				assert.Equal(t, string(test.want), h.status().Reason)
				if test.waits || restartPolicy == corev1.RestartPolicyAlways {
					assert.Equal(t, corev1.PodPending, h.status().Phase)
					assert.Equal(t, refusalRetry, requeueAfter)
				} else {
					assert.Equal(t, corev1.PodFailed, h.status().Phase)
				}
			}
		})
	}
}

func TestNothingIsCreatedBeforeTheFactsAreKnown(t *testing.T) {
	for name, unknown := range map[string]func(*fakeFacts){
		"the switch":    func(f *fakeFacts) { f.ready = false },
		"the namespace": func(f *fakeFacts) { delete(f.annotations, "default") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			unknown(h.facts)
			pod := h.put(newPod("web"))
			for range 2 {
				_, err := h.reconcilePod(pod)
				require.Error(t, err)
			}
			assert.Equal(t, ReasonUndecided, h.status().Reason)
			assert.Zero(t, h.cloud.calls["create"])

			h.facts.ready, h.facts.annotations["default"] = true, nil
			h.reconciles(pod)
			h.assertEvent("Normal CloudPodCreated")
		})
	}
}

func TestWhatRunsGoesOnRunningWhenTheSwitchIsTurnedOff(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	h.run(pod)
	h.facts.global = policy.SwitchOff
	h.reconciles(pod)
	assert.Nil(t, h.reported, "nothing changes")
	assert.Empty(t, h.cloud.deletions)
}

func TestARefusedPodIsCreatedWhenTheSwitchIsTurnedOn(t *testing.T) {
	h := newHarness(t)
	throttled := &cci.Error{Kind: cci.Throttled, Status: 429, After: 7 * time.Second}
	waiting, running := newPod("waiting"), newPod("running")
	h.run(running)
	h.put(waiting)
	h.cloud.fail["create"] = throttled
	_, err := h.reconcilePod(waiting)
	require.Error(t, err, "it has tried before")
	delete(h.cloud.fail, "create")
	h.facts.global = policy.SwitchOff
	h.reconciles(waiting)
	assert.Contains(t, h.status().Message, "set it to true")
	assert.Contains(t, h.status().Message, "delete the Pod")
	h.drainEvents()

	queued := make(chan identity.Key, 2)
	h.rebuildLoop(func(key identity.Key) { queued <- key })
	h.facts.global = policy.SwitchOn
	h.FactsChanged()
	assert.Equal(t, identity.KeyOf(waiting), <-queued, "Pods with a cloud Pod need no decision")
	h.clock = h.clock.Add(throttled.After)
	h.reconciles(waiting)
	h.assertEvent("Normal CloudPodCreated")
}
