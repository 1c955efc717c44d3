package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden answers")

// answers plays package placement: what it says is set by the test.
type answers struct {
	notReady bool
	verdict  placement.Verdict
	err      error
	panics   bool
}

func (a answers) Ready() error {
	if a.notReady {
		return errors.New("the extender is starting: its caches are not filled yet")
	}
	return nil
}

func (a answers) Filter(context.Context, *corev1.Pod, []string) (placement.Verdict, error) {
	if a.panics {
		panic("a fault of ours")
	}
	return a.verdict, a.err
}

func (a answers) Prioritize(_ context.Context, _ *corev1.Pod, names []string) (extenderv1.HostPriorityList, error) {
	list := extenderv1.HostPriorityList{}
	for i, name := range names {
		list = append(list, extenderv1.HostPriority{Host: name, Score: int64(i)})
	}
	return list, a.err
}

func (a answers) Preempt(_ context.Context, _ *corev1.Pod, victims placement.Victims) (placement.Victims, error) {
	return victims, a.err
}

func post(t *testing.T, a answers, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	handlers, err := server.New(a, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	recorder := httptest.NewRecorder()
	handlers.Together().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return recorder
}

const pod = `"Pod":{"metadata":{"name":"web-1","namespace":"default","uid":"u1","resourceVersion":"7"}}`

func TestAnswersAreByteForByteWhatTheSchedulerReads(t *testing.T) {
	cases := map[string]struct {
		answers    answers
		path, body string
	}{
		"filter_some_nodes": {
			answers{verdict: placement.Verdict{Names: []string{"local-0"}, Reason: policy.ReasonSwitchOn}},
			"/v1/filter", `{` + pod + `,"NodeNames":["local-0","virtual-0"]}`,
		},
		"filter_no_node": {
			answers{verdict: placement.Verdict{Names: []string{}, Reason: policy.ReasonLocalQuota, Refusal: "Spillway LocalQuotaReached: why"}},
			"/v1/filter", `{` + pod + `,"NodeNames":["local-0","local-1"]}`,
		},
		"filter_error":     {answers{err: errors.New("the watch stands still")}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`},
		"filter_not_ready": {answers{notReady: true}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`},
		"prioritize":       {answers{}, "/v1/prioritize", `{` + pod + `,"NodeNames":["local-0","virtual-0"]}`},
		"preempt":          {answers{}, "/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{"local-0":{"Pods":[{"UID":"v1"}],"NumPDBViolations":1}}}`},
		"preempt_nobody":   {answers{}, "/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{}}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := post(t, tc.answers, tc.path, tc.body)
			assert.Equal(t, http.StatusOK, got.Code, got.Body.String())
			assert.NotEmpty(t, got.Header().Get("Content-Length"), "an answer without a length costs the scheduler its connection")
			golden := filepath.Join("testdata", name+".json")
			if *update {
				require.NoError(t, os.WriteFile(golden, got.Body.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got.Body.String())
		})
	}
}

// TestWhoCannotAnswerEndsTheConnection: a Kubernetes Service leads the next one to an extender that is ready.
func TestWhoCannotAnswerEndsTheConnection(t *testing.T) {
	cases := map[string]struct {
		answers    answers
		path, body string
		want       string
	}{
		"filter, not leading":  {answers{notReady: true}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`, "close"},
		"preempt, not leading": {answers{notReady: true}, "/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{}}`, "close"},
		"filter, an error":     {answers{err: errors.New("the watch stands still")}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`, ""},
		"filter, an answer":    {answers{verdict: placement.Verdict{Names: []string{"local-0"}}}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, post(t, tc.answers, tc.path, tc.body).Header().Get("Connection"))
		})
	}
}

func TestMalformedRequestsGetWords(t *testing.T) {
	megabytes := `{` + pod + `,"NodeNames":["` + strings.Repeat("x", 9<<20) + `"]}`
	cases := map[string]struct {
		path, body string
		want       string
	}{
		"an empty object has no Pod":           {"/v1/filter", `{}`, "Pod: missing"},
		"an empty object has no names":         {"/v1/prioritize", `{}`, "NodeNames: missing"},
		"an empty object has no victims":       {"/v1/preempt", `{}`, "NodeNameToMetaVictims: missing"},
		"an empty body":                        {"/v1/filter", ``, "must be one JSON object"},
		"junk":                                 {"/v1/filter", `junk`, "must be one JSON object"},
		"a list":                               {"/v1/filter", `[]`, "must be one JSON object"},
		"null":                                 {"/v1/prioritize", `null`, "Pod: missing"},
		"something behind the object":          {"/v1/filter", `{` + pod + `,"NodeNames":["a"]} {}`, "more behind"},
		"a body that is too large":             {"/v1/filter", megabytes, "larger than 8388608 bytes"},
		"no names":                             {"/v1/filter", `{` + pod + `,"NodeNames":[]}`, "NodeNames: missing"},
		"whole nodes in place of names":        {"/v1/filter", `{` + pod + `,"Nodes":{"items":[]}}`, "nodeCacheCapable"},
		"a Pod without a UID":                  {"/v1/filter", `{"Pod":{"metadata":{"name":"a","namespace":"b","resourceVersion":"1"}},"NodeNames":["n"]}`, "Pod.metadata.uid: missing"},
		"a Pod with a wrong resource version":  {"/v1/filter", `{"Pod":{"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":"x"}},"NodeNames":["n"]}`, `Pod.metadata.resourceVersion: invalid value "x"`},
		"a Pod of the wrong shape":             {"/v1/preempt", `{"Pod":7,"NodeNameToMetaVictims":{}}`, "must be one JSON object"},
		"victims that are null":                {"/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{"a":null}}`, `NodeNameToMetaVictims["a"]`},
		"victims as whole Pods are not enough": {"/v1/preempt", `{` + pod + `,"NodeNameToVictims":{}}`, "nodeCacheCapable"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := post(t, answers{}, tc.path, tc.body)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Contains(t, got.Body.String(), tc.want)
		})
	}
}

func TestUnknownNodesGetWords(t *testing.T) {
	unknown := &nodes.UnknownNodeError{Name: "nowhere"}
	for path, body := range map[string]string{
		"/v1/filter":     `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/prioritize": `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/preempt":    `{` + pod + `,"NodeNameToMetaVictims":{"nowhere":{}}}`,
	} {
		got := post(t, answers{err: unknown}, path, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Contains(t, got.Body.String(), `unknown node "nowhere"`)
	}
}

func TestAPreemptThatCannotBeAnsweredIsAStatus(t *testing.T) {
	got := post(t, answers{err: errors.New("the watch stands still")}, "/v1/preempt", `{`+pod+`,"NodeNameToMetaVictims":{}}`)
	assert.Equal(t, http.StatusServiceUnavailable, got.Code)
	assert.Contains(t, got.Body.String(), "the watch stands still")
}

func TestAPanicIsAnAnswer(t *testing.T) {
	got := post(t, answers{panics: true}, "/v1/filter", `{`+pod+`,"NodeNames":["local-0"]}`)
	assert.Equal(t, http.StatusInternalServerError, got.Code)
}

func TestOtherPathsAndMethods(t *testing.T) {
	cases := map[string]struct {
		method, path string
		answers      answers
		want         int
	}{
		"alive":                      {http.MethodGet, "/healthz", answers{notReady: true}, http.StatusOK},
		"not ready before the cache": {http.MethodGet, "/readyz", answers{notReady: true}, http.StatusServiceUnavailable},
		"ready":                      {http.MethodGet, "/readyz", answers{}, http.StatusOK},
		"metrics":                    {http.MethodGet, "/metrics", answers{}, http.StatusOK},
		"an unknown verb":            {http.MethodPost, "/v1/bind", answers{}, http.StatusNotFound},
		"a wrong method":             {http.MethodGet, "/v1/filter", answers{}, http.StatusMethodNotAllowed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			handlers, err := server.New(tc.answers, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			recorder := httptest.NewRecorder()
			handlers.Together().ServeHTTP(recorder, httptest.NewRequest(tc.method, tc.path, nil))
			assert.Equal(t, tc.want, recorder.Code)
		})
	}
}

// TestOnlyNamedClientsMayAsk: the listener has verified the certificate, what counts here is whose it is.
func TestOnlyNamedClientsMayAsk(t *testing.T) {
	uri := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/kube-system/sa/kube-scheduler"}
	cases := map[string]struct {
		certificate *x509.Certificate
		want        int
		words       string
	}{
		"by common name":                   {&x509.Certificate{Subject: pkix.Name{CommonName: "system:kube-scheduler"}}, http.StatusOK, ""},
		"by DNS name":                      {&x509.Certificate{DNSNames: []string{"other", "scheduler.example.com"}}, http.StatusOK, ""},
		"by URI":                           {&x509.Certificate{URIs: []*url.URL{uri}}, http.StatusOK, ""},
		"a node of the cluster may not":    {&x509.Certificate{Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:kube-scheduler"}}}, http.StatusForbidden, `is for "system:node:n1": only`},
		"nor one whose name begins as one": {&x509.Certificate{DNSNames: []string{"scheduler.example.com.evil.example"}}, http.StatusForbidden, `"system:kube-scheduler, scheduler.example.com, spiffe://cluster.local/ns/kube-system/sa/kube-scheduler" may ask`},
		"nor one without a name":           {&x509.Certificate{}, http.StatusForbidden, `is for ""`},
		"nor one without a certificate":    {nil, http.StatusForbidden, `is for ""`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			asked := &counting{answers: answers{verdict: placement.Verdict{Names: []string{"local-0"}}}}
			handlers, err := server.New(asked, []string{"system:kube-scheduler", "scheduler.example.com", uri.String()}, registry, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			request := httptest.NewRequest(http.MethodPost, "/v1/filter", strings.NewReader(`{`+pod+`,"NodeNames":["local-0"]}`))
			if tc.certificate != nil {
				request.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tc.certificate}}
			}
			recorder := httptest.NewRecorder()
			handlers.Verbs.ServeHTTP(recorder, request)
			assert.Equal(t, tc.want, recorder.Code)
			assert.Contains(t, recorder.Body.String(), tc.words)
			assert.Equal(t, tc.want == http.StatusOK, asked.filtered == 1, "what is refused takes no slot")
			forbidden, err := testutil.GatherAndCount(registry, "spillway_extender_requests_total")
			require.NoError(t, err)
			assert.Equal(t, 1, forbidden, "and is counted")
		})
	}
}

// counting notes whether Filter was reached.
type counting struct {
	answers
	filtered int
}

func (c *counting) Filter(ctx context.Context, pod *corev1.Pod, names []string) (placement.Verdict, error) {
	c.filtered++
	return c.answers.Filter(ctx, pod, names)
}

func TestHealthAndVerbsAreApart(t *testing.T) {
	handlers, err := server.New(answers{}, []string{"system:kube-scheduler"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for _, tc := range []struct {
		handler      http.Handler
		method, path string
		want         int
	}{
		{handlers.Health, http.MethodGet, "/healthz", http.StatusOK},
		{handlers.Health, http.MethodGet, "/readyz", http.StatusOK},
		{handlers.Health, http.MethodGet, "/metrics", http.StatusOK},
		{handlers.Health, http.MethodPost, "/v1/filter", http.StatusNotFound},
		{handlers.Verbs, http.MethodGet, "/metrics", http.StatusNotFound},
		{handlers.Verbs, http.MethodPost, "/v1/filter", http.StatusForbidden},
	} {
		recorder := httptest.NewRecorder()
		tc.handler.ServeHTTP(recorder, httptest.NewRequest(tc.method, tc.path, strings.NewReader("{}")))
		assert.Equal(t, tc.want, recorder.Code, "%s %s", tc.method, tc.path)
	}
}

// FuzzDecoding hunts for panics and for answers without words; what is answered is tested above.
func FuzzDecoding(f *testing.F) {
	f.Add("/v1/filter", []byte(`{`+pod+`,"NodeNames":["local-0"]}`))
	f.Add("/v1/preempt", []byte(`{`+pod+`,"NodeNameToMetaVictims":{"a":{"Pods":[null]}}}`))
	f.Add("/v1/prioritize", []byte(`{"Pod":null,"NodeNames":[null]}`))
	handlers, err := server.New(answers{verdict: placement.Verdict{Names: []string{"local-0"}}}, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "/v1/filter" && path != "/v1/preempt" && path != "/v1/prioritize" {
			return
		}
		recorder := httptest.NewRecorder()
		handlers.Together().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
		switch recorder.Code {
		case http.StatusOK:
			require.True(t, json.Valid(recorder.Body.Bytes()))
		case http.StatusBadRequest:
			require.Contains(t, recorder.Body.String(), "Spillway: ")
		default:
			t.Fatalf("status %d for %q", recorder.Code, body)
		}
	})
}
