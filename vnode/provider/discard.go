package provider

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// discardRecorder discards Events.
type discardRecorder struct{}

var _ record.EventRecorder = discardRecorder{}

// Event implements record.EventRecorder.
func (discardRecorder) Event(runtime.Object, string, string, string) {}

// Eventf implements record.EventRecorder.
func (discardRecorder) Eventf(runtime.Object, string, string, string, ...any) {}

// AnnotatedEventf implements record.EventRecorder.
func (discardRecorder) AnnotatedEventf(runtime.Object, map[string]string, string, string, string, ...any) {
}
