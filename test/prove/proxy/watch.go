package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func isWatch(r *http.Request) bool {
	wanted := r.URL.Query().Get("watch")
	return r.Method == http.MethodGet && (wanted == "true" || wanted == "1")
}

// watch passes on a watch, which CutWatches can end.
func (p *APIServer) watch(forward *httputil.ReverseProxy, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	p.mu.Lock()
	expired := p.expired && resumes(r)
	p.watches[r] = cancel
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.watches, r)
		p.mu.Unlock()
	}()
	if expired {
		answer(w, apierrors.NewResourceExpired("too old resource version (the proof disturbs)"))
		return
	}
	forward.ServeHTTP(w, r)
}

// resumes reports whether a watch resumes from a version. The API server may not have the history since that version.
func resumes(r *http.Request) bool {
	version := r.URL.Query().Get("resourceVersion")
	return version != "" && version != "0"
}

// StallWatches delays what every watch delivers until the returned function is called. No connection is closed.
func (p *APIServer) StallWatches() (undo func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := make(chan struct{})
	p.stalled = stalled
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stalled = nil
		close(stalled)
	}
}

// lateWatch is the delay of DelayWatches. It is longer than the scheduler takes to retry a Pod, and shorter than the
// time that the extender waits for its watch.
const lateWatch = 300 * time.Millisecond

// DelayWatches delays what every watch delivers by a constant time, until the returned function is called.
func (p *APIServer) DelayWatches() (undo func()) {
	p.delay(lateWatch)
	return func() { p.delay(0) }
}

func (p *APIServer) delay(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lateness = by
}

// CutWatches ends every open watch, possibly within an event.
func (p *APIServer) CutWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
}

// ExpireWatches ends every watch. Watches that resume get 410 Gone until the returned function is called.
func (p *APIServer) ExpireWatches() (undo func()) {
	p.mu.Lock()
	p.expired = true
	p.mu.Unlock()
	p.CutWatches()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.expired = false
	}
}

// hold blocks while watches are stalled, or for the delay. It fails when ctx ends.
func (p *APIServer) hold(ctx context.Context) error {
	p.mu.Lock()
	stalled, lateness := p.stalled, p.lateness
	p.mu.Unlock()
	var late <-chan time.Time
	switch {
	case stalled != nil:
	case lateness > 0:
		late = time.After(lateness)
	default:
		return nil
	}
	select {
	case <-stalled:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// watchBody delays the data of a watch.
type watchBody struct {
	io.ReadCloser
	ctx   context.Context
	proxy *APIServer
}

// Read implements io.Reader.
func (b *watchBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if held := b.proxy.hold(b.ctx); held != nil {
		return 0, held
	}
	return n, err
}

// answer writes an error as the API server does.
func answer(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // An error means that the client has disconnected.
}
