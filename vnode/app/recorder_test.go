package app

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

func TestEventsHaveABoundedMessage(t *testing.T) {
	recorded := record.NewFakeRecorder(3)
	recorder := boundedRecorder{recorded}
	image := strings.Repeat("x", 100_000)
	recorder.Event(&corev1.Pod{}, corev1.EventTypeWarning, "Reason", image)
	recorder.Eventf(&corev1.Pod{}, corev1.EventTypeWarning, "Reason", "Container %s keeps image %s", "c", image)
	recorder.AnnotatedEventf(&corev1.Pod{}, nil, corev1.EventTypeWarning, "Reason", "%s", image)
	for range 3 {
		assert.Len(t, <-recorded.Events, len("Warning Reason ")+maxEvent)
	}
}
