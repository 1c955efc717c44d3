// Package schedulers knows which schedulers of the cluster call the extender, and for which Pods. It calls nothing.
package schedulers

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Schedulers describes the schedulers that call the extender. The zero value is the default scheduler, which calls it
// for Pods with the marker resource.
type Schedulers struct {
	// Assigned is the scheduler that managed Pods of the default scheduler are assigned to. Empty: they keep theirs,
	// which calls the extender then.
	Assigned string
	// Others are further schedulers that call the extender. Pods name them themselves.
	Others []string
	// EveryPod: they call the extender for every Pod that names them, and not only for Pods with the marker resource.
	EveryPod bool
}

// Assign gives a managed Pod of the default scheduler the scheduler that it is assigned to.
func (s Schedulers) Assign(spec *corev1.PodSpec) {
	if s.Assigned != "" && s.of(spec.SchedulerName) == s.Assigned {
		spec.SchedulerName = s.Assigned
	}
}

// of returns the scheduler of a managed Pod that names a scheduler.
func (s Schedulers) of(name string) string {
	name = cmp.Or(name, corev1.DefaultSchedulerName)
	if name == corev1.DefaultSchedulerName {
		return cmp.Or(s.Assigned, name)
	}
	return name
}

// Call reports whether a managed Pod that names a scheduler gets one that calls the extender.
func (s Schedulers) Call(name string) bool {
	switch scheduler := s.of(name); {
	case scheduler == s.Assigned, slices.Contains(s.Others, scheduler):
		return true
	default:
		return s.Assigned == "" && scheduler == corev1.DefaultSchedulerName
	}
}

// Place reports whether the extender is called for the Pod as it is. Only Pods for which a scheduler calls it have the
// marker resource.
func (s Schedulers) Place(spec *corev1.PodSpec) bool {
	if policy.NeedsPlacement(spec) {
		return true
	}
	name := cmp.Or(spec.SchedulerName, corev1.DefaultSchedulerName)
	return s.EveryPod && s.of(name) == name && s.Call(name)
}

// Warn says what a scheduler that does not call the extender means for a Pod that asks to burst with a burst mode or a
// quota. limited reports whether the namespace has limits. It returns an empty text if the Pod loses nothing.
func (s Schedulers) Warn(name string, mode policy.Mode, quota, limited bool) string {
	asks := mode != policy.ModeOff && (quota || mode != policy.ModeNone)
	if !asks || s.Call(name) || mode == policy.ModeEnforce && !limited {
		return ""
	}
	return OtherScheduler(name, quota, limited).String()
}

// OtherScheduler is the message about a scheduler that does not call the extender, for a Pod with a quota or one of a
// namespace with limits.
func OtherScheduler(name string, quota, limited bool) policy.Message {
	text := fmt.Sprintf("scheduler %q does not call the extender of Spillway: ", name)
	switch {
	case limited:
		text += "the namespace has limits (" + policy.CloudLimitsAnnotation + "), so the Pod stays on local nodes; "
	case quota:
		text += policy.LocalReplicasAnnotation + " has no effect, and the Pod bursts only after that scheduler " +
			"has found no local node; "
	default:
		text += "the Pod bursts only after that scheduler has found no local node; "
	}
	return policy.Message{Code: policy.ReasonOtherScheduler, Sentence: text + Right}
}

// CannotCount is the message about a scheduler that does not call the extender, for a Pod whose shares need it.
func CannotCount(name string) policy.Message {
	return policy.Message{Code: policy.ReasonOtherScheduler, Sentence: fmt.Sprintf(
		"scheduler %q does not call the extender of Spillway: nothing counts the Pod for %s and %s, so it stays on "+
			"local nodes; ", name, policy.LocalMinAnnotation, policy.CloudMaxAnnotation) + Right}
}

// Right says what to do about a scheduler that does not call the extender.
const Right = "remove schedulerName, or name the scheduler in otherSchedulerNames of admission if it calls the extender"
