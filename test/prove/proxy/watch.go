package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func isWatch(r *http.Request) bool {
	wanted := r.URL.Query().Get("watch")
	return r.Method == http.MethodGet && (wanted == "true" || wanted == "1")
}

// watch passes on a watch that can be cut.
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

// resumes tells whether a watch wants to go on from where another ended: the API server may have forgotten that.
func resumes(r *http.Request) bool {
	version := r.URL.Query().Get("resourceVersion")
	return version != "" && version != "0"
}

// StallWatches holds back what every watch brings until the returned function is called. No connection is lost.
func (p *APIServer) StallWatches() (heal func()) {
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

// CutWatches ends every watch that is under way, in the middle of what it brings.
func (p *APIServer) CutWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
}

// ExpireWatches ends every watch, and answers 410 Gone to those that want to go on until the returned function is called.
func (p *APIServer) ExpireWatches() (heal func()) {
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

// gate is the channel that is closed when watches flow again, nil if they flow.
func (p *APIServer) gate() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalled
}

// watchBody holds back what it has read while watches are stalled.
type watchBody struct {
	io.ReadCloser
	ctx  context.Context
	gate func() chan struct{}
}

// Read implements io.Reader.
func (b *watchBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if stalled := b.gate(); stalled != nil {
		select {
		case <-stalled:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	return n, err
}

// answer writes an error as the API server does.
func answer(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // A client that is gone needs no answer.
}
