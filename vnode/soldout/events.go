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
	// eventsEvery is how long a Pod's events count before they are asked for again, and how long a Pod must have waited
	// at least.
	eventsEvery = 10 * time.Second
	// eventsAtOnce is for how many Pods a look asks at most: one is enough to lock the node.
	eventsAtOnce = 2
)

// heard is what a Pod's events have said.
type heard struct {
	words string
	at    time.Time
}

// hear asks for the events of Pods that wait without a sign in their status: where a region says at all that it is
// sold out, it may say it there alone. A region without events, or whose events cannot be read, says nothing.
func (k *Keeper) hear(ctx context.Context, pods map[identity.Key]*cci.Pod) {
	for key := range k.heard {
		if pods[key] == nil {
			delete(k.heard, key)
		}
	}
	now, asked := k.config.Now(), 0
	for key, pod := range pods {
		placed, words := hasPlace(pod)
		if placed || k.isSign(words) || now.Sub(k.waiting[key]) < min(eventsEvery, k.config.Timeout/2) || now.Sub(k.heard[key].at) < eventsEvery {
			continue
		}
		if asked++; asked > eventsAtOnce {
			return
		}
		events, err := k.config.Events(ctx, pod)
		if err != nil && ctx.Err() == nil {
			k.config.Logger.Debug("the events of a waiting cloud Pod cannot be read", "pod", key, "err", err)
		}
		k.heard[key] = heard{lastWarning(events), now}
	}
}

// isSign tells whether the service says with these words that it is sold out.
func (k *Keeper) isSign(words string) bool {
	return k.config.Signs != nil && k.config.Signs.MatchString(words)
}

// lastWarning is the newest of the warnings, in words.
func lastWarning(events []corev1.Event) string {
	var words string
	var newest time.Time
	for _, event := range events {
		at := event.LastTimestamp.Time
		if at.IsZero() {
			at = event.EventTime.Time
		}
		if event.Type == corev1.EventTypeWarning && !at.Before(newest) {
			words, newest = strings.TrimSpace(fmt.Sprintf("%s %s", event.Reason, event.Message)), at
		}
	}
	return words
}
