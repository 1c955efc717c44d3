package soldout

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

const (
	// eventsInterval is the time between two reads of a Pod's events, and how long a Pod must have waited for the first.
	eventsInterval = 10 * time.Second
	// maxEventReads is the number of Pods whose events are read in one check.
	maxEventReads = 2
)

// absentInterval is the time after which a region without Events is asked again.
const absentInterval = time.Hour

// readInterval is the time between two reads of something that explains why Pods wait.
func (c *Controller) readInterval() time.Duration { return min(eventsInterval, c.config.Timeout/2) }

// readWarnings reads the events of Pods that wait without a sign in their status: a region may report only there that
// it is sold out. A region without events, or with events that cannot be read, reports nothing.
func (c *Controller) readWarnings(ctx context.Context) {
	now, reads := c.config.Now(), 0
	if now.Before(c.eventsNext) {
		return
	}
	for key, w := range c.waiting {
		if w.scheduled || c.isSign(w.status.reason) || now.Sub(w.since) < c.readInterval() ||
			now.Sub(w.warningAt) < eventsInterval {
			continue
		}
		if reads++; reads > maxEventReads {
			return
		}
		events, err := c.config.API.PodEvents(ctx, c.config.CloudNamespace, w.cloud.Name, w.cloud.UID)
		if cci.IsNotOffered(err) {
			c.noteNoEvents()
			return
		}
		if err != nil && ctx.Err() == nil {
			c.config.Logger.Debug("the events of a waiting cloud Pod cannot be read",
				logging.Pod(key.Namespace, key.Name, key.UID), "err", err)
		}
		w.warning, w.warningAt = lastWarning(events), now
	}
}

// noteNoEvents stops the reading of events for a while, and logs that once.
func (c *Controller) noteNoEvents() {
	if c.eventsNext.IsZero() {
		c.config.Logger.Warn("the region offers no Events of Pods: that a size is sold out is found by Pods that wait",
			"interval", absentInterval)
	}
	c.eventsNext = c.config.Now().Add(absentInterval)
}

// lastWarning returns the newest warning.
func lastWarning(events []corev1.Event) report {
	var last report
	var newest time.Time
	for _, event := range events {
		at := event.LastTimestamp.Time
		if at.IsZero() {
			at = event.EventTime.Time
		}
		if event.Type == corev1.EventTypeWarning && !at.Before(newest) {
			last, newest = report{event.Reason, event.Message}, at
		}
	}
	return last
}
