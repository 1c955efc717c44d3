package kubelet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
)

// reviewing is an API server that counts TokenReviews and allows every other request. The one valid token is "admin".
type reviewing struct {
	*httptest.Server
	reviews atomic.Int64
}

func newReviewing(t testing.TB) *reviewing {
	t.Helper()
	r := &reviewing{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch request.URL.Path {
		case "/apis/authentication.k8s.io/v1/tokenreviews":
			r.reviews.Add(1)
			var review authenticationv1.TokenReview
			_ = json.NewDecoder(request.Body).Decode(&review)
			review.Status.Authenticated = review.Spec.Token == "admin"
			review.Status.User.Username = "admin"
			_ = json.NewEncoder(w).Encode(&review)
		case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
			_ = json.NewEncoder(w).Encode(&authorizationv1.SubjectAccessReview{
				Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true},
			})
		default:
			_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Pod"}`)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *reviewing) client(t testing.TB, qps float32, burst int) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: r.URL, QPS: qps, Burst: burst})
	require.NoError(t, err)
	return client
}

// from sends a request from an address of this machine and returns the status.
func from(t *testing.T, address, url, token string) int {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// Thousands of random tokens are answered without a TokenReview each. Meanwhile a status is written, and a token from
// another address is reviewed.
func TestAFloodOfTokensDelaysNothingElse(t *testing.T) {
	cluster := newReviewing(t)
	auth, err := kubelet.NewAuth(cluster.client(t, 20, 40), newCluster(t), "virtual", clientCA(t))
	require.NoError(t, err)
	handler, err := kubelet.New(kubelet.Config{
		Auth: auth, Pods: &pods{logs: text("log")}, Usage: usage{}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	port := httptest.NewServer(handler)
	t.Cleanup(port.Close)

	const flood = 3000
	started := time.Now()
	var group sync.WaitGroup
	var limited atomic.Int64
	for worker := range 30 {
		group.Go(func() {
			for i := range flood / 30 {
				token := fmt.Sprintf("random-%d-%d", worker, i)
				if from(t, "127.0.0.1", port.URL+"/healthz", token) == http.StatusTooManyRequests {
					limited.Add(1)
				}
			}
		})
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	writes := cluster.client(t, 200, 400).CoreV1().Pods("default")
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := writes.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		cancel()
		require.NoError(t, err)
	}
	assert.Equal(t, http.StatusOK, from(t, "127.0.0.2", port.URL+"/healthz", "admin"))
	group.Wait()
	reviews := float64(cluster.reviews.Load())
	t.Logf("%d tokens in %s: %v reviews, %d limited", flood, time.Since(started), reviews, limited.Load())
	// 20 at first and 2 per second, and the valid one.
	assert.LessOrEqual(t, reviews, 20+2*time.Since(started).Seconds()+2)
	assert.Greater(t, limited.Load(), int64(flood/2))
}

// A caller that opens every stream it gets leaves room for other namespaces, and is told what is open.
func TestStreamsAreLimitedPerPodAndNamespace(t *testing.T) {
	leave := make(chan struct{})
	var inside sync.WaitGroup
	p := &anyPods{logs: func(ctx context.Context) (io.ReadCloser, error) {
		inside.Done()
		select {
		case <-leave:
		case <-ctx.Done():
		}
		return io.NopCloser(strings.NewReader("log")), nil
	}}
	auth, err := kubelet.NewAuth(newCluster(t), newCluster(t), "virtual", clientCA(t))
	require.NoError(t, err)
	handler, err := kubelet.New(kubelet.Config{Auth: auth, Pods: p, Usage: usage{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	send := func(pod string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/containerLogs/"+pod+"/c?follow=true", nil)
		request.Header.Set("Authorization", "Bearer admin")
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	// The first request fills the cache of tokens, so that the others need no review.
	inside.Add(1)
	first := make(chan struct{})
	go func() { defer close(first); send("shop/web-0") }()
	inside.Wait()
	var group sync.WaitGroup
	open := func(n int, pod string) {
		for range n {
			inside.Add(1)
			group.Go(func() { assert.Equal(t, http.StatusOK, send(pod).Code) })
			inside.Wait()
		}
	}
	open(49, "shop/web-0")
	rejected := send("shop/web-0")
	assert.Equal(t, http.StatusTooManyRequests, rejected.Code)
	assert.Equal(t, "too many logs, commands and forwarded ports are open: at most 50 of Pod shop/web-0 and 400 of this "+
		"virtual node may be: close some of them\n", rejected.Body.String())
	for i := range 3 {
		open(50, fmt.Sprintf("shop/web-%d", i+1))
	}
	rejected = send("shop/web-9")
	assert.Equal(t, http.StatusTooManyRequests, rejected.Code)
	assert.Contains(t, rejected.Body.String(), "at most 200 of namespace shop")
	open(1, "bank/web-0")
	close(leave)
	<-first
	group.Wait()
	inside.Add(1)
	assert.Equal(t, http.StatusOK, send("shop/web-0").Code)
}

// anyPods has every Pod.
type anyPods struct {
	pods
	logs func(context.Context) (io.ReadCloser, error)
}

func (p *anyPods) Logs(ctx context.Context, _, _ string, _ cci.LogOptions) (io.ReadCloser, error) {
	return p.logs(ctx)
}

// FuzzPaths searches for panics, and for requests that take long: any path and query gets an answer.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{
		"/containerLogs/default/web/c?follow=true&tailLines=99999999999999999999&sinceTime=0000-00-00",
		"/containerLogs/default/web/c?sinceTime=9999999-01-01T00:00:00Z&limitBytes=-1&stream=Stdout",
		"/containerLogs/../../web/c", "/containerLogs/%2e%2e/%2f/c", "//containerLogs/a/b/c",
		"/exec/default/web/c?command=&input=1&output=1&error=1&tty=1",
		"/exec/default/web/u/c?" + strings.Repeat("command=a&", 1000) + "output=1", "/exec/default/web/waiting?command=a",
		"/portForward/default/web?port=99999999", "/portForward/default/web/u?port=-1", "/run/a/b/c", "/attach/a/b/c",
		"/metrics/resource?" + strings.Repeat("a=b&", 1000), "/stats/summary", "/healthz/..", "/pods", "/%00",
	} {
		f.Add(uint8(0), path)
		f.Add(uint8(1), path)
	}
	cluster := newReviewing(f)
	auth, err := kubelet.NewAuth(cluster.client(f, 20, 40), cluster.client(f, 20, 40), "virtual", clientCA(f))
	require.NoError(f, err)
	p := &pods{address: "127.0.0.1", logs: text("log")}
	handler, err := kubelet.New(kubelet.Config{
		Auth: auth, Pods: p, PortForward: true, Usage: usage{}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(f, err)
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, "OPTIONS"}
	f.Fuzz(func(t *testing.T, method uint8, target string) {
		request, err := http.NewRequest(methods[int(method)%len(methods)], target, nil)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		request.Header.Set("Authorization", "Bearer admin")
		recorder := httptest.NewRecorder()
		started := time.Now()
		handler.ServeHTTP(recorder, request)
		require.Less(t, time.Since(started), 5*time.Second)
		require.Less(t, recorder.Body.Len(), 4096+2*len(target))
	})
}
