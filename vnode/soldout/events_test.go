package soldout

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestEventsAreReadPeriodically(t *testing.T) {
	h := newHarness(t)
	start, reads := h.clock, map[string]int{}
	h.reconciles()
	h.wait("a", "Unschedulable") // This is no sign: the events may have one.
	h.wait("b", "")
	h.wait("c", "")
	h.wait("said", "SoldOut")
	var failure error
	h.cloud.eventsOf = func(name string) ([]corev1.Event, error) {
		reads[name]++
		if failure != nil || name != "a" {
			return nil, failure
		}
		event := func(reason, message string, at time.Time) corev1.Event {
			return corev1.Event{
				Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at),
			}
		}
		return []corev1.Event{
			event("FlavorSoldOut", "no 2.00_4.0", start.Add(time.Second)), event("FailedScheduling", "no quota", start),
			{Type: corev1.EventTypeNormal, Reason: "Pulling", LastTimestamp: metav1.NewTime(start.Add(time.Minute))},
		}, nil
	}
	stranded := func() []string {
		t.Helper()
		h.reconciles()
		var found []string
		for _, s := range h.stranded() {
			found = append(found, s.key.Name+": "+s.cause)
		}
		return found
	}
	said := "said: size 2.00_4.0 is sold out: the cloud reports: SoldOut"
	assert.Equal(t, []string{said}, stranded())
	assert.Empty(t, reads, "no Pod has waited long enough")
	h.pass(eventsInterval)
	stranded()
	assert.Len(t, reads, maxEventReads, "the number of reads in one check is limited")
	assert.Equal(t, []string{"a: size 2.00_4.0 is sold out: the cloud reports: FlavorSoldOut no 2.00_4.0", said},
		stranded())
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, reads,
		"the events of each Pod are read once, and never those of a Pod with a sign in its status")
	stranded()
	assert.Len(t, reads, 3)

	h.pass(eventsInterval)
	failure = errors.New("no events here")
	stranded()
	stranded()
	assert.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, reads)
	assert.Equal(t, []string{said}, stranded(), "events that cannot be read report nothing")
	clear(h.cloud.pods)
	stranded()
	assert.Empty(t, h.waiting)
}

// A region without Events is not asked for them with each check.
func TestARegionWithoutEventsIsAskedRarely(t *testing.T) {
	h := newHarness(t)
	reads := 0
	h.cloud.eventsOf = func(string) ([]corev1.Event, error) {
		reads++
		return nil, &cci.Error{Kind: cci.NotOffered, Status: 404, Feature: cci.Events}
	}
	h.wait("a", "")
	h.wait("b", "")
	h.reconciles()
	for range 3 {
		h.pass(eventsInterval)
		h.reconciles()
	}
	assert.Equal(t, 1, reads)
	h.pass(absentInterval)
	h.reconciles()
	assert.Equal(t, 2, reads)
}
