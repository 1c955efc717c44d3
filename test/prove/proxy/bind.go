package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// lateBy is the delay of a late binding. By then the scheduler has retried the Pod.
const lateBy = 1500 * time.Millisecond

// BindFault is a fault of requests to bind a Pod.
type BindFault string

const (
	// BindFails: the request fails with 500 and does not reach the API server.
	BindFails BindFault = "fails"
	// BindLandsUnanswered: the Pod is bound, but the scheduler gets a timeout.
	BindLandsUnanswered BindFault = "lands unanswered"
	// BindHangs: the request is delayed until the fault ends. Then the Pod is bound and the scheduler gets the answer.
	BindHangs BindFault = "hangs"
	// BindLandsLate: the scheduler gets a timeout, and the Pod is bound later.
	BindLandsLate BindFault = "lands late"
)

// DisturbBinds applies the fault to all requests to bind a Pod, until the returned function is called.
func (p *APIServer) DisturbBinds(fault BindFault) (undo func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := make(chan struct{})
	p.binds, p.bindFaultEnded = fault, ended
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.binds = ""
		close(ended)
	}
}

func isBind(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/binding") &&
		strings.Contains(r.URL.Path, "/pods/")
}

// bindTarget returns the Pod of the path /api/v1/namespaces/{namespace}/pods/{name}/binding.
func bindTarget(path string) (namespace, name string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) != 7 {
		return "", path
	}
	return parts[3], parts[5]
}

// bind passes on a request to bind a Pod, or applies the fault.
func (p *APIServer) bind(forward *httputil.ReverseProxy, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault, ended := p.binds, p.bindFaultEnded
	p.mu.Unlock()
	timedOut := apierrors.NewTimeoutError("the request did not complete in time (the proof disturbs)", 0)
	switch fault {
	case BindFails:
		p.noteBind(r, http.StatusInternalServerError, fault)
		answer(w, apierrors.NewInternalError(fmt.Errorf("the proof disturbs")))
	case BindLandsUnanswered:
		p.noteBind(r, p.land(r.Context(), forward, r), fault)
		answer(w, timedOut)
	case BindLandsLate:
		p.landLate(forward, r)
		answer(w, timedOut)
	case BindHangs:
		r = detached(r)
		<-ended // Even if the scheduler has been killed meanwhile: the request was already sent.
		p.pass(forward, w, r, fault)
	default:
		p.pass(forward, w, r, fault)
	}
}

func (p *APIServer) pass(forward *httputil.ReverseProxy, w http.ResponseWriter, r *http.Request, fault BindFault) {
	answered := &statusWriter{ResponseWriter: w}
	forward.ServeHTTP(answered, r)
	p.noteBind(r, answered.status, fault)
}

// detached returns the request with its body read. It does not end when the client disconnects.
func detached(r *http.Request) *http.Request {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r = r.Clone(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// landLate binds the Pod after a delay, even if the client has disconnected.
func (p *APIServer) landLate(forward *httputil.ReverseProxy, r *http.Request) {
	later := detached(r)
	p.late.Go(func() {
		time.Sleep(lateBy)
		p.noteBind(later, p.land(later.Context(), forward, later), BindLandsLate)
	})
}

// land binds the Pod and returns the status, which the client does not get. It is 0 if the API server did not answer.
func (p *APIServer) land(ctx context.Context, forward *httputil.ReverseProxy, r *http.Request) int {
	defer func() { _ = recover() }() // The reverse proxy panics if there is no answer.
	unseen := httptest.NewRecorder()
	forward.ServeHTTP(unseen, r.WithContext(ctx))
	return unseen.Code
}

func (p *APIServer) noteBind(r *http.Request, status int, fault BindFault) {
	namespace, name := bindTarget(r.URL.Path)
	p.log.Add(record.Entry{Bind: &record.Bind{Namespace: namespace, Name: name, Status: status, Fault: string(fault)}})
}

// statusWriter stores the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap allows the reverse proxy to flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
