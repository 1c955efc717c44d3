// Package tracing sends spans to an OpenTelemetry collector: what the programs do for a Pod, from the webhook to the
// calls to the cloud. It is off unless a standard environment variable of OpenTelemetry names a collector.
//
// The parts of the way of a Pod are hours apart at times, and in different programs. The webhook therefore writes its
// span to the Pod, in the W3C format traceparent, and the spans of the other programs are its children.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// scope names the code that creates the spans.
	scope = "github.com/spillway-k8s/spillway"
	// carried is the key of the span in a header or in a carrier.
	carried = "traceparent"
	// flushTimeout is how long the end of a program waits until the last spans are sent.
	flushTimeout = 2 * time.Second
)

// The variables that name the collector (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
const (
	endpointVariable       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpointVariable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// format is how a span is written in headers and annotations.
var format = propagation.TraceContext{}

// SetUp starts to send spans, if the environment names a collector, and returns what sends the last ones and stops. The
// collector speaks OTLP over gRPC. It need not answer: spans that cannot be sent are dropped, and logged. The standard
// variables (OTEL_EXPORTER_OTLP_…, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES) have their usual meaning. SetUp
// changes globals of the process: call it once, from main.
func SetUp(ctx context.Context, program string, logger *slog.Logger) (stop func(), err error) {
	if cmp.Or(os.Getenv(tracesEndpointVariable), os.Getenv(endpointVariable)) == "" {
		return func() {}, nil
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	described, err := resource.Merge(
		resource.NewSchemaless(attribute.String("service.name", "spillway-"+program)), resource.Environment())
	if err != nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("tracing failed", "err", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	otel.SetTracerProvider(provider)
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			logger.Warn("sending the last spans failed", "err", err)
		}
	}, nil
}

// FromHeader returns ctx with the span of the client of a request, if the header has one.
func FromHeader(ctx context.Context, header http.Header) context.Context {
	return format.Extract(ctx, propagation.HeaderCarrier(header))
}

// Follow begins a span for a Pod, as a child of the span that is written on the Pod. The caller must end the span, with
// End.
func Follow(ctx context.Context, name string, pod *corev1.Pod) (context.Context, trace.Span) {
	if written, ok := pod.Annotations[policy.TraceAnnotation]; ok {
		ctx = format.Extract(ctx, propagation.MapCarrier{carried: written})
	}
	return Start(ctx, name, pod)
}

// Start begins a span for a Pod, as a child of the span in ctx if there is one. The caller must end the span, with End.
func Start(ctx context.Context, name string, pod *corev1.Pod) (context.Context, trace.Span) {
	ctx, span := otel.Tracer(scope).Start(ctx, name)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("k8s.namespace.name", pod.Namespace),
			attribute.String("k8s.pod.name", cmp.Or(pod.Name, pod.GenerateName)),
			attribute.String("k8s.pod.uid", string(pod.UID)))
	}
	return ctx, span
}

// Child begins a span of a call within a recorded span. It returns a span that records nothing if there is none, so
// what a program does for no Pod in particular is not traced.
func Child(ctx context.Context, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return otel.Tracer(scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
}

// End ends a span, with the error of what it is about. keysAndValues are attributes.
func End(span trace.Span, err error, keysAndValues ...string) {
	if span.IsRecording() {
		for pair := range slices.Chunk(keysAndValues, 2) {
			span.SetAttributes(attribute.String("spillway."+pair[0], pair[1]))
		}
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
		}
	}
	span.End()
}

// Mark writes the span in ctx to a Pod. If the span is not sampled, it removes what a copied manifest may have: a
// tenant must not choose what is traced.
func Mark(ctx context.Context, pod *corev1.Pod) {
	carrier := propagation.MapCarrier{}
	if trace.SpanContextFromContext(ctx).IsSampled() {
		format.Inject(ctx, carrier)
	}
	span, recorded := carrier[carried]
	switch {
	case !recorded:
		delete(pod.Annotations, policy.TraceAnnotation)
	case pod.Annotations == nil:
		pod.Annotations = map[string]string{policy.TraceAnnotation: span}
	default:
		pod.Annotations[policy.TraceAnnotation] = span
	}
}
