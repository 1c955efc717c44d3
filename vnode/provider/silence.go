package provider

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// silence drops events.
type silence struct{}

var _ record.EventRecorder = silence{}

// Event implements record.EventRecorder.
func (silence) Event(runtime.Object, string, string, string) {}

// Eventf implements record.EventRecorder.
func (silence) Eventf(runtime.Object, string, string, string, ...any) {}

// AnnotatedEventf implements record.EventRecorder.
func (silence) AnnotatedEventf(runtime.Object, map[string]string, string, string, string, ...any) {}
