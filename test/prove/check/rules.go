package check

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// flip is a change of the global switch.
type flip struct {
	at  time.Time
	off bool
}

type faultKey struct {
	kind   string
	number int
}

// isControlled reports whether the extender controls where the Pod runs: the scheduler calls it for the Pod, from the
// beginning.
func (w *world) isControlled(p *pod) bool {
	return p.Marked && p.Quota != nil && p.born.Node == "" && p.Scheduler != plan.OtherScheduler
}

// switchLag is how long after the record a component may receive a change of the switch. Its watch may be disturbed.
const switchLag = 45 * time.Second

// quotaCounts reports whether the Pod's quota applies to it now: it may burst, and the switch has allowed that for
// longer than any component may lag behind.
func (w *world) quotaCounts(p *pod) bool {
	if !w.decide(&p.Pod, policy.SwitchOn).Shares.LocalReplicas.Set {
		return false
	}
	return w.decide(&p.Pod, policy.SwitchOff).Shares.LocalReplicas.Set || !w.wasOff(p.bornAt.Add(-switchLag))
}

func (w *world) decide(p *record.Pod, global policy.Switch) policy.Decision {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Labels: map[string]string{}, Annotations: map[string]string{},
	}}
	if p.Burst != "" {
		pod.Labels[policy.BurstLabel] = p.Burst
	}
	if p.Switch != "" {
		pod.Annotations[policy.SwitchKey] = p.Switch
	}
	if p.Quota != nil {
		pod.Annotations[policy.LocalReplicasAnnotation] = strconv.Itoa(*p.Quota)
	}
	return w.rules.Decide(policy.Input{Pod: pod, Global: global})
}

// wasOff reports whether the switch was off at any time since the given time.
func (w *world) wasOff(since time.Time) bool {
	for i := len(w.switches) - 1; i >= 0; i-- {
		if w.switches[i].off {
			return true
		}
		if w.switches[i].at.Before(since) {
			return false
		}
	}
	return false
}

// isDisturbed reports whether there was a fault since the given time, or the effects of an earlier one.
func (w *world) isDisturbed(since time.Time) bool {
	return len(w.faults) > 0 || !w.disturbed.IsZero() && since.Before(w.disturbed.Add(aftermath))
}

// aftermath is how long the effects of a fault last: the scheduler retries a Pod without an answer after at most 10 s.
const aftermath = 12 * time.Second

func (w *world) fault(f *record.Fault) {
	key := faultKey{f.Kind, f.Number}
	if f.Ended {
		delete(w.faults, key)
		w.disturbed = w.now
	} else {
		w.faults[key] = true
	}
}
