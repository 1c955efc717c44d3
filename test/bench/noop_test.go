package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var anyPod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"}}

func TestNoOpExtenderAcceptsEveryNode(t *testing.T) {
	server := httptest.NewServer(newNoOp())
	defer server.Close()
	names := tinyNames(5000)
	a := newCaller(server.URL)
	for range 3 {
		left, took, err := a.filter(t.Context(), anyPod, names)
		require.NoError(t, err)
		assert.Equal(t, names, left)
		assert.Positive(t, took)
	}
	assert.EqualValues(t, 1, a.connections.Load())
	calls, err := runningExtender{url: server.URL, counter: noOpRequests}.calls(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 3, calls)

	response, err := http.Post(server.URL+"/v1/prioritize", "application/json",
		strings.NewReader(`{"Pod":{},"NodeNames":["a","b"]}`))
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.JSONEq(t, `[{"Host":"a","Score":0},{"Host":"b","Score":0}]`, string(body))

	recorder := httptest.NewRecorder()
	newNoOp().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/v1/filter", strings.NewReader(`{"Pod":{}}`)))
	assert.Equal(t, http.StatusBadRequest, recorder.Code)
}

func tinyNames(count int) []string {
	o := options{VirtualNodes: 3}
	return o.nodeNames(count)
}

// kube-scheduler stops reading at the end of the JSON. If the end of the answer has not arrived by then, the connection
// is closed.
func TestCallerCountsConnections(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"NodeNames":["a"]}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	a := newCaller(server.URL)
	for range 10 {
		_, _, err := a.filter(t.Context(), anyPod, []string{"a"})
		require.NoError(t, err)
	}
	assert.EqualValues(t, 10, a.connections.Load())
}

func TestCallerReportsInvalidAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"a status": {
			http.StatusServiceUnavailable, "{}", "calling .* for pod pod: the answer is 503 Service Unavailable",
		},
		"no JSON":        {http.StatusOK, "junk", "calling .* for pod pod: invalid character"},
		"an error":       {http.StatusOK, `{"Error":"not now"}`, `the answer has the error "not now"`},
		"no list at all": {http.StatusOK, `{}`, `the answer has no NodeNames`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			_, _, err := newCaller(server.URL).filter(t.Context(), anyPod, []string{"a"})
			require.Error(t, err)
			assert.Regexp(t, test.want, err.Error())
		})
	}
}
