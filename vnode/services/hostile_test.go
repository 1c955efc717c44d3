package services

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// stranger is a client that client-go is not: it connects by an address, without the name of the server.
func (w *world) stranger(pod *corev1.Pod, protocols ...string) func(ctx context.Context, path string) *http.Response {
	w.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}}
	transport.ForceAttemptHTTP2 = len(protocols) > 1
	w.Cleanup(transport.CloseIdleConnections)
	token := w.connection(pod).BearerToken
	return func(ctx context.Context, path string) *http.Response {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.server.config.Address+path, nil)
		require.NoError(w, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := transport.RoundTrip(request)
		require.NoError(w, err)
		w.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
}

func TestAClientOfHTTP1WithoutAServerNameIsServed(t *testing.T) {
	w := newWorld(t)
	get := w.stranger(w.pod("shop", "cart-0"), "http/1.1")
	stream := get(t.Context(), pathServices+"?watch=true")
	require.Equal(t, http.StatusOK, stream.StatusCode)
	require.Equal(t, "HTTP/1.1", stream.Proto)
	lines := bufio.NewScanner(stream.Body)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `"name":"kubernetes"`)
	w.put(w.service("shop", "cart"))
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `"type":"ADDED"`)
}

// A Pod learns nothing of the cluster but its Services, whatever it asks for.
func TestAPodGetsNothingElse(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Namespaces = nil })
	w.put(w.service("other", "hidden"))
	for i, path := range []string{
		"/api/v1/secrets", "/api/v1/namespaces/spillway-system/secrets/" + SecretName, "/api/v1/nodes/other",
		"/api/v1/namespaces/other/services", "/api/v1/pods", "/metrics", "/debug/pprof/", "/api/v1/services/../secrets",
		"/api/v1/services%2f..%2fsecrets", "//api/v1/services", "/API/V1/SERVICES",
	} {
		response := w.stranger(w.pod("shop", fmt.Sprintf("cart-%d", i)), "h2", "http/1.1")(t.Context(), path)
		assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
	}
	for i, query := range []string{
		"fieldSelector=metadata.namespace%3Dother", "labelSelector=", "fieldSelector=metadata.name%3Dhidden",
		"resourceVersion=0", "limit=1",
	} {
		response := w.stranger(w.pod("shop", fmt.Sprintf("basket-%d", i)), "h2", "http/1.1")(t.Context(),
			pathServices+"?"+query)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode, query)
		assert.NotContains(t, string(body), "hidden", query)
	}
}

func TestAVersionThatNoClusterHasIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	get := w.stranger(w.pod("shop", "cart-0"), "h2", "http/1.1")
	for version, want := range map[string]int{
		fmt.Sprint(uint64(partial)): http.StatusGone, fmt.Sprint(^uint64(0)): http.StatusGone,
		"18446744073709551616": http.StatusBadRequest, "-1": http.StatusBadRequest, "1e9": http.StatusBadRequest,
		strings.Repeat("9", 4000): http.StatusBadRequest,
	} {
		response := get(t.Context(), pathServices+"?watch=true&resourceVersion="+version)
		assert.Equal(t, want, response.StatusCode, version)
	}
}

// A Pod that opens one stream after the other has its newest ones, and nothing is left of the others.
func TestThousandsOfStreamsOfOnePodLeaveNothing(t *testing.T) {
	w := newWorld(t)
	honest := open(t, w.client(w.pod("shop", "honest")))
	pod := w.pod("shop", "greedy")
	goroutines := runtime.NumGoroutine()
	now, _ := w.server.services.resources.head()
	watch := fmt.Sprintf("%s?watch=true&resourceVersion=%d", pathServices, now)
	var asking sync.WaitGroup
	for range 4 {
		get := w.stranger(pod, "h2", "http/1.1")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		asking.Go(func() {
			for range 500 {
				get(ctx, watch)
			}
		})
	}
	asking.Wait()
	w.server.mu.RLock()
	of := w.server.nodes[nodeName]
	w.server.mu.RUnlock()
	of.mu.Lock()
	assert.LessOrEqual(t, len(of.clients[PodOf(pod)].streams), maxStreams)
	of.mu.Unlock()
	w.put(w.service("shop", "cart"))
	assert.NotEmpty(t, (<-honest.ResultChan()).Type)
	w.pods.Delete(pod)
	w.open(1)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < goroutines+50 }, timeout, tick)
}

// Objects that were deleted are not kept for longer than others.
func TestDeletedObjectsAreBoundedToo(t *testing.T) {
	const each = 1 << 20
	w := newCluster(t)
	w.follow()
	var all []*discoveryv1.EndpointSlice
	for i := range 2 * maxEventBytes / each {
		slice := w.slice("shop", "huge", fmt.Sprintf("huge-%d", i), 0)
		slice.Labels["padding"] = strings.Repeat("x", each)
		all = append(all, slice)
		w.put(slice.DeepCopy())
	}
	for _, slice := range all {
		w.remove(slice)
	}
	kept := 0
	for _, e := range w.server.slices.resources.events {
		for _, o := range []*object{e.old, e.object} {
			if o != nil {
				kept += len(o.json)
			}
		}
	}
	assert.LessOrEqual(t, kept, maxEventBytes)
	assert.Zero(t, w.server.slices.resources.count())
}
