// Package tracingtest has an OpenTelemetry collector for tests.
package tracingtest

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Collector keeps the spans that it gets.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	// Endpoint is its URL.
	Endpoint string

	mu    sync.Mutex
	spans []Span
}

// Span is a span with the program that sent it.
type Span struct {
	*tracev1.Span
	Program string
}

// Attribute returns the text of an attribute, empty if the span does not have it.
func (s Span) Attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// Start starts a collector on loopback that ends with the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, server := &Collector{Endpoint: "http://" + listener.Addr().String()}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }() // It returns an error after Stop only.
	t.Cleanup(server.Stop)
	return c
}

// Export implements collector.TraceServiceServer.
func (c *Collector) Export(
	_ context.Context, request *collector.ExportTraceServiceRequest,
) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		from := Span{Span: &tracev1.Span{Attributes: resource.Resource.Attributes}}.Attribute("service.name")
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans = append(c.spans, Span{Span: span, Program: from})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// Spans returns the spans of all requests so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}
