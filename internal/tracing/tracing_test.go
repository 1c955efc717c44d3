package tracing_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/internal/tracing/tracingtest"
	"github.com/spillway-k8s/spillway/policy"
)

// collect starts a collector, and names it in the environment.
func collect(t *testing.T) *tracingtest.Collector {
	t.Helper()
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint)
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	return c
}

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "1"}}
}

func TestTheSpansOfAPodAreOneTraceAcrossPrograms(t *testing.T) {
	c := collect(t)
	stop, err := tracing.SetUp(t.Context(), "admission", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	header := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}

	subject := pod()
	ctx, span := tracing.Start(tracing.FromHeader(t.Context(), header), "prepare", subject)
	tracing.Mark(ctx, subject)
	tracing.End(span, nil, "decision", "cloud")
	ctx, span = tracing.Follow(t.Context(), "create", subject)
	_, call := tracing.Child(ctx, "call")
	tracing.End(call, errors.New("sold out"))
	tracing.End(span, nil)
	stop()

	spans := map[string]tracingtest.Span{}
	for _, s := range c.Spans() {
		assert.Equal(t, "spillway-admission", s.Program)
		assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", trace.TraceID(s.TraceId).String())
		spans[s.Name] = s
	}
	require.Len(t, spans, 3)
	prepare, create, called := spans["prepare"], spans["create"], spans["call"]
	assert.Equal(t, prepare.SpanId, create.ParentSpanId)
	assert.Equal(t, create.SpanId, called.ParentSpanId)
	assert.Equal(t, "sold out", called.Status.Message)
	assert.Equal(t, "cart", prepare.Attribute("k8s.pod.name"))
	assert.Equal(t, "cloud", prepare.Attribute("spillway.decision"))
}

func TestACallForNoPodIsNotTraced(t *testing.T) {
	c := collect(t)
	stop, err := tracing.SetUp(t.Context(), "vnode", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, span := tracing.Child(t.Context(), "list")
	tracing.End(span, nil)
	stop()
	assert.Empty(t, c.Spans())
}

func TestAPodThatIsNotSampledLosesTheSpanOfACopiedManifest(t *testing.T) {
	c := collect(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	stop, err := tracing.SetUp(t.Context(), "admission", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	copied := pod()
	copied.Annotations = map[string]string{
		policy.TraceAnnotation: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	ctx, span := tracing.Start(t.Context(), "prepare", copied)
	tracing.Mark(ctx, copied)
	tracing.End(span, nil)
	stop()
	assert.NotContains(t, copied.Annotations, policy.TraceAnnotation)
	assert.Empty(t, c.Spans())
}

func TestWithoutACollectorNothingIsTraced(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	stop, err := tracing.SetUp(t.Context(), "admission", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer stop()
	subject := pod()
	ctx, span := tracing.Start(t.Context(), "prepare", subject)
	assert.False(t, span.IsRecording())
	tracing.Mark(ctx, subject)
	assert.Empty(t, subject.Annotations)
}

// A malformed annotation of a tenant begins a new trace.
func TestAMalformedSpanOnAPodIsIgnored(t *testing.T) {
	collect(t)
	stop, err := tracing.SetUp(t.Context(), "vnode", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer stop()
	for _, text := range []string{"", "x", strings.Repeat("0", 1<<20), "00-0-0-01"} {
		subject := pod()
		subject.Annotations = map[string]string{policy.TraceAnnotation: text}
		_, span := tracing.Follow(t.Context(), "create", subject)
		assert.True(t, span.SpanContext().IsValid(), "%.20s", text)
		tracing.End(span, nil)
	}
}

// BenchmarkOff is what tracing costs the extender when it is off.
func BenchmarkOff(b *testing.B) {
	subject := pod()
	b.ReportAllocs()
	for b.Loop() {
		_, span := tracing.Follow(b.Context(), "filter", subject)
		tracing.End(span, nil, "reason", "LocalQuota")
	}
}
