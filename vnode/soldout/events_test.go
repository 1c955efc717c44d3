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

func TestEventsAreHeardNowAndThen(t *testing.T) {
	start := time.Unix(1e9, 0)
	now, asked := start, map[string]int{}
	pods := map[identity.Key]*cci.Pod{}
	for _, name := range []string{"a", "b", "c", "said"} {
		pods[identity.Key{Name: name}] = &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	}
	pods[identity.Key{Name: "a"}].Status.Reason = "Unschedulable" // Which is no sign: its events may say more.
	pods[identity.Key{Name: "said"}].Status.Reason = "Unschedulable: sold out"
	var fault error
	k := &Keeper{
		waiting: map[identity.Key]time.Time{}, placed: map[identity.Key]bool{}, heard: map[identity.Key]heard{},
		config: Config{
			Timeout: time.Minute, Signs: regexp.MustCompile("sold out"), Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
			Cloud: func() map[identity.Key]*cci.Pod { return pods },
			Events: func(_ context.Context, pod *cci.Pod) ([]corev1.Event, error) {
				asked[pod.Name]++
				if fault != nil || pod.Name != "a" {
					return nil, fault
				}
				warning := func(message string, at time.Time) corev1.Event {
					return corev1.Event{Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: message, LastTimestamp: metav1.NewTime(at)}
				}
				return []corev1.Event{
					warning("the flavor is sold out", start.Add(time.Second)), warning("no quota", start),
					{Type: corev1.EventTypeNormal, Reason: "Pulling", LastTimestamp: metav1.NewTime(start.Add(time.Minute))},
				}, nil
			},
		},
	}
	look := func() []stuckPod {
		t.Helper()
		found, err := k.stuck(t.Context())
		require.NoError(t, err)
		return found
	}
	said := stuckPod{identity.Key{Name: "said"}, "the cloud says: Unschedulable: sold out", true}
	assert.Equal(t, []stuckPod{said}, look())
	assert.Empty(t, asked, "nobody has waited for long")
	now = now.Add(eventsEvery)
	look()
	assert.Len(t, asked, eventsAtOnce, "few are asked for at once")
	found := look()
	require.Len(t, found, 2)
	assert.Equal(t, "the cloud says: FailedScheduling the flavor is sold out", found[0].why)
	assert.Equal(t, said, found[1])
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, asked, "each once, and never one that says it itself")
	look()
	assert.Len(t, asked, 3)

	now, fault = now.Add(eventsEvery), errors.New("no events here")
	look()
	look()
	assert.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, asked)
	assert.Equal(t, []stuckPod{said}, look(), "what cannot be read says nothing")
	clear(pods)
	look()
	assert.Empty(t, k.heard)
}
