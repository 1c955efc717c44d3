package app

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
)

// maxEvent is the maximum length of the message of an Event in bytes. Source: Kubernetes v1.36,
// pkg/apis/core/validation/events.go, NoteLengthLimit, which applies to the events.k8s.io API.
const maxEvent = 1024

// boundedRecorder cuts the messages of Events. They can contain names of images, variables and keys of any length.
type boundedRecorder struct{ record.EventRecorder }

// Event implements record.EventRecorder.
func (r boundedRecorder) Event(object runtime.Object, kind, reason, message string) {
	r.EventRecorder.Event(object, kind, reason, policy.Clip(message, maxEvent))
}

// Eventf implements record.EventRecorder.
func (r boundedRecorder) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	r.Event(object, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf implements record.EventRecorder.
func (r boundedRecorder) AnnotatedEventf(
	object runtime.Object, annotations map[string]string, kind, reason, format string, args ...any,
) {
	r.EventRecorder.AnnotatedEventf(object, annotations, kind, reason, "%s",
		policy.Clip(fmt.Sprintf(format, args...), maxEvent))
}
