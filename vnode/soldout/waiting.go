package soldout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// maxMessage is the length in characters of what the cloud says about a Pod in an Event.
const maxMessage = 500

// waitingPod is a Pod whose cloud Pod has no address yet, or that has none because a quota has no room for it.
type waitingPod struct {
	key  identity.Key
	size string
	// cloud is the cloud Pod as it was last seen, nil if a quota has no room for it.
	cloud *cci.Pod
	// since is when the Pod was first seen without an address, by this program's clock: the cloud's clock may differ. Of a
	// Pod that waits for a quota, it is when the cloud last said so.
	since time.Time
	// samePlaced is when another Pod of the same size was last seen to get an address since then.
	samePlaced time.Time
	// scheduled: the cloud has found capacity for the Pod. status is what it reports if it has not.
	scheduled bool
	status    report
	// warning is the last warning from the Pod's events, which were read at warningAt.
	warning   report
	warningAt time.Time
	// reported is what an Event has last reported about the Pod, empty for nothing.
	reported policy.OnSoldOut
}

// report is what the cloud says about a Pod. The message may contain names that users choose, the reason does not.
type report struct{ reason, message string }

// String returns both, shortened.
func (r report) String() string {
	return fmt.Sprintf("%.*s", maxMessage, strings.TrimSpace(r.reason+" "+r.message))
}

// observe updates what is known about the cloud Pods. The Pods that have an address at the first check got it before:
// they show nothing.
func (c *Controller) observe() {
	all, now, first := c.config.CloudPods(), c.config.Now(), c.hasAddress == nil
	c.observed = now
	if first {
		c.hasAddress, c.opened = map[identity.Key]bool{}, now
	}
	maps.DeleteFunc(c.hasAddress, func(key identity.Key, _ bool) bool { return all[key] == nil })
	maps.DeleteFunc(c.waiting, func(key identity.Key, _ *waitingPod) bool { return !isWaiting(all[key]) })
	for key, pod := range all {
		if pod.HasAddress() && !c.hasAddress[key] {
			c.hasAddress[key] = true
			if !first {
				c.noteRoom(translate.SizeOf(pod))
			}
		}
	}
	for key, pod := range all {
		if !isWaiting(pod) {
			continue
		}
		w := c.waiting[key]
		if w == nil {
			w = &waitingPod{key: key, since: now}
			c.waiting[key] = w
		}
		w.cloud, w.size = pod, translate.SizeOf(pod)
		w.scheduled, w.status = isScheduled(pod)
	}
	c.observeRefused(c.config.QuotaRefusals())
}

// observeRefused updates what is known about the Pods for which a quota has no room.
func (c *Controller) observeRefused(refusals map[identity.Key]time.Time) {
	maps.DeleteFunc(c.refused, func(key identity.Key, _ *waitingPod) bool {
		_, isRefused := refusals[key]
		return !isRefused
	})
	for key, at := range refusals {
		if c.refused[key] == nil {
			c.refused[key] = &waitingPod{key: key}
		}
		c.refused[key].since = at
	}
	c.metrics.refused.Set(float64(len(c.refused)))
}

// forQuota reports whether the Pod waits for a quota.
func (w *waitingPod) forQuota() bool { return w.cloud == nil }

// noteRoom notes that the cloud has room for a Pod of a size.
func (c *Controller) noteRoom(size string) {
	c.lastAddress = c.config.Now()
	c.addresses++
	for _, w := range c.waiting {
		if w.size == size {
			w.samePlaced = c.lastAddress
		}
	}
}

func isWaiting(pod *cci.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodPending && !pod.HasAddress()
}

// isScheduled reports whether the cloud has found capacity for a Pod, and what the cloud says if it has not. How the
// cloud shows that it is sold out is not documented. A Pod without the condition PodScheduled counts by its container
// statuses, which appear when it is scheduled.
func isScheduled(pod *cci.Pod) (scheduled bool, status report) {
	if c := policy.PodCondition(&corev1.Pod{Status: pod.Status}, corev1.PodScheduled); c != nil {
		return c.Status == corev1.ConditionTrue, report{c.Reason, c.Message}
	}
	status = report{pod.Status.Reason, pod.Status.Message}
	return len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) > 0, status
}

// waited returns how long a Pod has waited while the node was open and no Pod of its size found room.
func (c *Controller) waited(w *waitingPod) time.Duration {
	return c.config.Now().Sub(latest(w.since, w.samePlaced, c.opened))
}

// isLate reports whether a Pod has waited for too long, or the cloud reports that it is sold out. The report about a
// Pod that waited before the node was opened may be old, and does not count.
func (c *Controller) isLate(w *waitingPod) bool {
	return c.waited(w) >= c.config.Timeout || c.hasSign(w) && !w.since.Before(c.opened)
}

// hasSign reports whether the cloud reports with one of the configured reasons that it is sold out.
func (c *Controller) hasSign(w *waitingPod) bool {
	return !w.scheduled && (c.isSign(w.status.reason) || c.isSign(w.warning.reason))
}

// says returns what the cloud says about a Pod: the last warning if it is a sign or the status says nothing, else the
// status.
func (c *Controller) says(w *waitingPod) string {
	if text := w.status.String(); text != "" && !c.isSign(w.warning.reason) {
		return text
	}
	return w.warning.String()
}

func (c *Controller) isSign(reason string) bool {
	return c.config.Signs != nil && reason != "" && c.config.Signs.MatchString(reason)
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
