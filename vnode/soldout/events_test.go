package soldout

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

func TestEventsAreReadPeriodically(t *testing.T) {
	start := time.Unix(1e9, 0)
	now, reads := start, map[string]int{}
	pods := map[identity.Key]*cci.Pod{}
	for _, name := range []string{"a", "b", "c", "said"} {
		pods[identity.Key{Name: name}] = &cci.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: corev1.PodPending},
		}
	}
	pods[identity.Key{Name: "a"}].Status.Reason = "Unschedulable" // This is no sign: the events may have one.
	pods[identity.Key{Name: "said"}].Status.Reason = "Unschedulable: sold out"
	var failure error
	c := &Controller{
		waitingSince: map[identity.Key]time.Time{}, hasAddress: map[identity.Key]bool{}, warnings: map[identity.Key]warning{},
		config: Config{
			Timeout: time.Minute, Signs: regexp.MustCompile("sold out"), Now: func() time.Time { return now },
			Logger: slog.New(slog.DiscardHandler),
			Cloud:  func() map[identity.Key]*cci.Pod { return pods },
			Events: func(_ context.Context, pod *cci.Pod) ([]corev1.Event, error) {
				reads[pod.Name]++
				if failure != nil || pod.Name != "a" {
					return nil, failure
				}
				event := func(message string, at time.Time) corev1.Event {
					return corev1.Event{
						Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: message,
						LastTimestamp: metav1.NewTime(at),
					}
				}
				return []corev1.Event{
					event("the flavor is sold out", start.Add(time.Second)), event("no quota", start),
					{Type: corev1.EventTypeNormal, Reason: "Pulling", LastTimestamp: metav1.NewTime(start.Add(time.Minute))},
				}, nil
			},
		},
	}
	check := func() []strandedPod {
		t.Helper()
		found, err := c.findStranded(t.Context())
		require.NoError(t, err)
		return found
	}
	said := strandedPod{identity.Key{Name: "said"}, "the cloud reports: Unschedulable: sold out", true}
	assert.Equal(t, []strandedPod{said}, check())
	assert.Empty(t, reads, "no Pod has waited long enough")
	now = now.Add(eventsInterval)
	check()
	assert.Len(t, reads, maxEventReads, "the number of reads in one check is limited")
	found := check()
	require.Len(t, found, 2)
	assert.Equal(t, "the cloud reports: FailedScheduling the flavor is sold out", found[0].cause)
	assert.Equal(t, said, found[1])
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, reads,
		"the events of each Pod are read once, and never those of a Pod with a sign in its status")
	check()
	assert.Len(t, reads, 3)

	now, failure = now.Add(eventsInterval), errors.New("no events here")
	check()
	check()
	assert.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, reads)
	assert.Equal(t, []strandedPod{said}, check(), "events that cannot be read report nothing")
	clear(pods)
	check()
	assert.Empty(t, c.warnings)
}
