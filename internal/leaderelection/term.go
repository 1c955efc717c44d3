package leaderelection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// ErrTermOver is the error of a request that was not sent, or was cancelled, because the term is over.
var ErrTermOver = errors.New("this process no longer leads")

// Term is a period in which this process leads. It ends when the process has not renewed the Lease for a while, which
// is shorter than the Lease, so that another process leads only after the end. A process that was suspended finds its
// term over when it continues. A Term never begins again. It is safe for concurrent use.
type Term struct {
	// lasts is how long the term lasts after a renewal.
	lasts time.Duration
	// ctx ends with the term.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu sync.Mutex
	// renewed is when the last renewal was sent. It is zero before the first one.
	renewed     time.Time
	transitions int
	over        bool
	timer       *time.Timer
}

// NewTerm returns a term that begins with its first renewal and ends when lasts has passed since the last one.
func NewTerm(lasts time.Duration) *Term {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Term{lasts: lasts, ctx: ctx, cancel: cancel}
}

// Renew notes a renewal that was sent at a time. If another process has held the Lease since the last one, the term is
// over.
func (t *Term) Renew(sent time.Time, transitions int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return
	case t.renewed.IsZero():
		t.transitions = transitions
		t.timer = time.AfterFunc(time.Until(sent.Add(t.lasts)), t.check)
	case t.transitions != transitions || t.isLateLocked():
		t.endLocked()
		return
	default:
		t.timer.Reset(time.Until(sent.Add(t.lasts)))
	}
	t.renewed = sent
}

// check ends the term if its time has passed.
func (t *Term) check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isLateLocked() {
		t.endLocked()
	}
}

// isLateLocked reports whether the time of the term has passed. The monotonic clock decides. It stops while a
// machine is suspended, so the other clock counts too if it says that more time has passed.
func (t *Term) isLateLocked() bool {
	now := time.Now()
	return now.Sub(t.renewed) >= t.lasts || now.Round(0).Sub(t.renewed.Round(0)) >= t.lasts
}

// End ends the term. It may be called again.
func (t *Term) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked()
}

func (t *Term) endLocked() {
	t.over = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.cancel(ErrTermOver)
}

// Err returns nil during the term, and ErrTermOver before and after. It does not block.
func (t *Term) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.renewed.IsZero() {
		return ErrTermOver
	}
	if t.isLateLocked() {
		t.endLocked()
		return ErrTermOver
	}
	return nil
}

// Done is closed when the term ends.
func (t *Term) Done() <-chan struct{} { return t.ctx.Done() }

// Wrap returns a transport that sends requests during the term only. Requests that are under way when the term ends
// are cancelled. What was already written to a connection cannot be called back.
func (t *Term) Wrap(next http.RoundTripper) http.RoundTripper { return &guard{term: t, next: next} }

// guard is the transport of a term.
type guard struct {
	term *Term
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := g.term.Err(); err != nil {
		if request.Body != nil {
			_ = request.Body.Close() // Nothing was sent: this error says nothing more.
		}
		return nil, fmt.Errorf("the request was not sent: %w", err)
	}
	ctx, cancel := context.WithCancelCause(request.Context())
	stop := context.AfterFunc(g.term.ctx, func() { cancel(ErrTermOver) })
	release := func() {
		stop()
		cancel(nil)
	}
	response, err := g.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		release()
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols { // That body is a connection, which the caller closes.
		response.Body = &guardedBody{response.Body, release}
	}
	return response, nil
}

// WrappedRoundTripper implements net.RoundTripperWrapper of k8s.io/apimachinery.
func (g *guard) WrappedRoundTripper() http.RoundTripper { return g.next }

// guardedBody releases the context of its request when it is closed.
type guardedBody struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (b *guardedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
