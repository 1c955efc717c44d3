package soldout

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

const (
	// eventsInterval is the time between two reads of a Pod's events, and how long a Pod must have waited for the first.
	eventsInterval = 10 * time.Second
	// maxEventReads is the number of Pods whose events are read in one check. One sign is enough to lock the node.
	maxEventReads = 2
)

// warning is the last warning from a Pod's events.
type warning struct {
	message string
	readAt  time.Time
}

// readWarnings reads the events of Pods that wait without a sign in their status: a region may report only there that
// it is sold out. A region without events, or with events that cannot be read, reports nothing.
func (c *Controller) readWarnings(ctx context.Context, pods map[identity.Key]*cci.Pod) {
	for key := range c.warnings {
		if pods[key] == nil {
			delete(c.warnings, key)
		}
	}
	now, reads := c.config.Now(), 0
	minWait := min(eventsInterval, c.config.Timeout/2)
	for key, pod := range pods {
		scheduled, message := isScheduled(pod)
		if scheduled || c.isSign(message) || now.Sub(c.waitingSince[key]) < minWait ||
			now.Sub(c.warnings[key].readAt) < eventsInterval {
			continue
		}
		if reads++; reads > maxEventReads {
			return
		}
		events, err := c.config.Events(ctx, pod)
		if err != nil && ctx.Err() == nil {
			c.config.Logger.Debug("the events of a waiting cloud Pod cannot be read", "pod", key, "err", err)
		}
		c.warnings[key] = warning{lastWarning(events), now}
	}
}

// isSign reports whether the service reports with this message that it is sold out.
func (c *Controller) isSign(message string) bool {
	return c.config.Signs != nil && c.config.Signs.MatchString(message)
}

// lastWarning returns the reason and the message of the newest warning.
func lastWarning(events []corev1.Event) string {
	var message string
	var newest time.Time
	for _, event := range events {
		at := event.LastTimestamp.Time
		if at.IsZero() {
			at = event.EventTime.Time
		}
		if event.Type == corev1.EventTypeWarning && !at.Before(newest) {
			message, newest = strings.TrimSpace(fmt.Sprintf("%s %s", event.Reason, event.Message)), at
		}
	}
	return message
}
