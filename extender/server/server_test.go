package server_test

import (
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
	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden answers")

// fakePlacement returns what the test sets.
type fakePlacement struct {
	notReady bool
	result   placement.FilterResult
	err      error
	panics   bool
}

func (p fakePlacement) Ready() error {
	if p.notReady {
		return errors.New("the extender is starting: its caches have not synced yet")
	}
	return nil
}

func (p fakePlacement) Filter(context.Context, *corev1.Pod, []string) (placement.FilterResult, error) {
	if p.panics {
		panic("a defect")
	}
	if p.notReady {
		return placement.FilterResult{}, p.Ready()
	}
	return p.result, p.err
}

func (p fakePlacement) DryRun(pod *corev1.Pod, _ placement.Offer) (placement.FilterResult, error) {
	return p.Filter(context.Background(), pod, nil)
}

// Explain explains the Pod, and takes the rest from the result.
func (p fakePlacement) Explain(pod *corev1.Pod, offer placement.Offer) (placement.Answer, error) {
	result, err := p.Filter(context.Background(), pod, nil)
	if err != nil {
		return placement.Answer{}, err
	}
	rules, err := policy.New(policy.DefaultConfig())
	if err != nil {
		return placement.Answer{}, err
	}
	answer := placement.Answer{
		Decision: placement.Local, Reason: result.Reason, Message: result.Refusal, Passed: result.Names,
		Explanation: explain.Explain(explain.Input{Policy: rules, Pod: pod}),
	}
	if result.Refusal != "" {
		answer.Decision, answer.Failed = placement.Waiting, []placement.Failed{{Nodes: offer.Names, Why: result.Refusal}}
	}
	return answer, nil
}

func (p fakePlacement) Prioritize(
	_ context.Context, _ *corev1.Pod, names []string,
) (extenderv1.HostPriorityList, error) {
	list := extenderv1.HostPriorityList{}
	for i, name := range names {
		list = append(list, extenderv1.HostPriority{Host: name, Score: int64(i)})
	}
	return list, p.err
}

func (p fakePlacement) Preempt(_ context.Context, _ *corev1.Pod, victims placement.Victims) (placement.Victims, error) {
	if p.notReady {
		return nil, p.Ready()
	}
	return victims, p.err
}

func post(t *testing.T, p fakePlacement, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	handlers, err := server.New(p, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	recorder := httptest.NewRecorder()
	handlers.Together().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return recorder
}

const (
	pod         = `"Pod":{"metadata":{"name":"web-1","namespace":"default","uid":"u1","resourceVersion":"7"}}`
	template    = `"Pod":{"metadata":{"namespace":"default"}}`
	filterBody  = `{` + pod + `,"NodeNames":["local-0"]}`
	preemptBody = `{` + pod + `,"NodeNameToMetaVictims":{}}`
)

func TestResponsesAreGolden(t *testing.T) {
	cases := map[string]struct {
		placement  fakePlacement
		path, body string
	}{
		"filter_some_nodes": {
			fakePlacement{result: placement.FilterResult{Names: []string{"local-0"}, Reason: policy.ReasonSwitchOn}},
			"/v1/filter", `{` + pod + `,"NodeNames":["local-0","virtual-0"]}`,
		},
		"filter_no_node": {
			fakePlacement{result: placement.FilterResult{
				Names: []string{}, Reason: policy.ReasonLocalQuota, Refusal: "Spillway LocalQuotaReached: why",
			}},
			"/v1/filter", `{` + pod + `,"NodeNames":["local-0","local-1"]}`,
		},
		"filter_error": {
			fakePlacement{
				err: errors.New("the watch has stalled"),
			},
			"/v1/filter",
			`{` + pod + `,"NodeNames":["local-0"]}`,
		},
		"filter_not_ready": {fakePlacement{notReady: true}, "/v1/filter", `{` + pod + `,"NodeNames":["local-0"]}`},
		"dry_run_names": {
			fakePlacement{result: placement.FilterResult{Names: []string{"virtual-0"}, Reason: policy.ReasonLocalQuota}},
			"/v1/filter?dryRun=true", `{` + template + `,"NodeNames":["local-0","virtual-0"]}`,
		},
		"dry_run_nodes": {
			fakePlacement{result: placement.FilterResult{Names: []string{"new-1"}, Reason: policy.ReasonSwitchOn}},
			"/v1/filter?dryRun=true", `{` + template + `,"Nodes":{"items":[{"metadata":{"name":"virtual-0"}},` +
				`{"metadata":{"name":"new-1","labels":{"pool":"<big>"}}}]}}`,
		},
		"dry_run_no_node": {
			fakePlacement{result: placement.FilterResult{
				Names: []string{}, Reason: policy.ReasonLocalQuota, Refusal: "Spillway LocalQuotaReached: why",
			}},
			"/v1/filter?dryRun=true", `{` + template + `,"Nodes":{"items":[{"metadata":{"name":"local-0"}}]}}`,
		},
		"dry_run_not_ready": {
			fakePlacement{notReady: true}, "/v1/filter?dryRun=true", `{` + template + `,"NodeNames":["local-0"]}`,
		},
		"explain_names": {
			fakePlacement{result: placement.FilterResult{Names: []string{"local-0"}, Reason: policy.ReasonSwitchOn}},
			"/v1/explain", `{` + template + `,"NodeNames":["local-0"]}`,
		},
		"explain_no_node": {
			fakePlacement{result: placement.FilterResult{
				Names: []string{}, Reason: policy.ReasonLocalQuota, Refusal: "Spillway LocalQuotaReached: why",
			}},
			"/v1/explain", `{` + pod + `,"Nodes":{"items":[{"metadata":{"name":"local-0"}}]}}`,
		},
		"prioritize": {fakePlacement{}, "/v1/prioritize", `{` + pod + `,"NodeNames":["local-0","virtual-0"]}`},
		"preempt": {
			fakePlacement{}, "/v1/preempt",
			`{` + pod + `,"NodeNameToMetaVictims":{"local-0":{"Pods":[{"UID":"v1"}],"NumPDBViolations":1}}}`,
		},
		"preempt_nobody": {fakePlacement{}, "/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{}}`},
		"preempt_without_victims": {
			fakePlacement{},
			"/v1/preempt",
			`{` + pod + `,"NodeNameToVictims":null,` +
				`"NodeNameToMetaVictims":{"local-0":{"Pods":[],"NumPDBViolations":0}}}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := post(t, tc.placement, tc.path, tc.body)
			assert.Equal(t, http.StatusOK, got.Code, got.Body.String())
			assert.NotEmpty(t, got.Header().Get("Content-Length"), "without it the scheduler loses its connection")
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

// TestAnExtenderThatIsNotReadyClosesTheConnection: a Service routes the next connection to an extender that is ready.
func TestAnExtenderThatIsNotReadyClosesTheConnection(t *testing.T) {
	cases := map[string]struct {
		placement  fakePlacement
		path, body string
		want       string
	}{
		"filter while it is not ready":  {fakePlacement{notReady: true}, "/v1/filter", filterBody, "close"},
		"explain while it is not ready": {fakePlacement{notReady: true}, "/v1/explain", filterBody, "close"},
		"preempt while it is not ready": {fakePlacement{notReady: true}, "/v1/preempt", preemptBody, "close"},
		"filter fails": {
			fakePlacement{err: errors.New("the watch has stalled")}, "/v1/filter", filterBody, "",
		},
		"filter succeeds": {
			fakePlacement{result: placement.FilterResult{Names: []string{"local-0"}}}, "/v1/filter", filterBody, "",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, post(t, tc.placement, tc.path, tc.body).Header().Get("Connection"))
		})
	}
}

func TestMalformedRequestsAreRejectedWithAMessage(t *testing.T) {
	megabytes := `{` + pod + `,"NodeNames":["` + strings.Repeat("x", 9<<20) + `"]}`
	cases := map[string]struct {
		path, body string
		want       string
	}{
		"an empty object has no Pod":   {"/v1/filter", `{}`, "Pod: missing"},
		"an empty object has no names": {"/v1/prioritize", `{}`, "NodeNames: missing"},
		"an empty object has no victims": {
			"/v1/preempt", `{}`,
			"NodeNameToMetaVictims: missing",
		},
		"an empty body": {"/v1/filter", ``, "must be one JSON object"},
		"junk":          {"/v1/filter", `junk`, "must be one JSON object"},
		"a list":        {"/v1/filter", `[]`, "must be one JSON object"},
		"null":          {"/v1/prioritize", `null`, "Pod: missing"},
		"data after the object": {
			"/v1/filter", `{` + pod + `,"NodeNames":["a"]} {}`,
			"after top-level value",
		},
		"a body that is too large": {"/v1/filter", megabytes, "larger than 8388608 bytes"},
		"no names":                 {"/v1/filter", `{` + pod + `,"NodeNames":[]}`, "NodeNames: missing"},
		"whole nodes in place of names": {
			"/v1/filter", `{` + pod + `,"Nodes":{"items":[]}}`,
			"nodeCacheCapable",
		},
		"a Pod without a UID": {
			"/v1/filter", `{"Pod":{"metadata":{"name":"a","namespace":"b","resourceVersion":"1"}},"NodeNames":["n"]}`,
			"Pod.metadata.uid: missing",
		},
		"a Pod with a wrong resource version": {
			"/v1/filter",
			`{"Pod":{"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":"x"}},"NodeNames":["n"]}`,
			`Pod.metadata.resourceVersion: invalid value "x"`,
		},
		"a Pod of the wrong shape": {
			"/v1/preempt", `{"Pod":7,"NodeNameToMetaVictims":{}}`,
			"must be one JSON object",
		},
		"a query that is not known": {
			"/v1/filter?dryrun=true", filterBody, `query "dryrun=true": must be empty, or dryRun=true`,
		},
		"a wrong value of dryRun": {"/v1/filter?dryRun=All", filterBody, `query "dryRun=All"`},
		"a dry run of preempt":    {"/v1/preempt?dryRun=true", preemptBody, `for /v1/filter`},
		"a dry run of explain":    {"/v1/explain?dryRun=true", filterBody, `for /v1/filter`},
		"explain without a Pod":   {"/v1/explain", `{}`, "field Pod: missing"},
		"explain without nodes":   {"/v1/explain", `{` + template + `}`, "field NodeNames: missing"},
		"a Pod on a node with a long name": {
			"/v1/explain", `{` + with(`"spec":{"nodeName":"`+strings.Repeat("x", 254)+`"}`) + `,"NodeNames":["n"]}`,
			"field Pod: a name of 254 bytes: must have at most 253",
		},
		"a node with a long name": {
			"/v1/explain", `{` + template + `,"Nodes":{"items":[{"metadata":{"name":"` + strings.Repeat("x", 254) + `"}}]}}`,
			"field Nodes.items[0].metadata.name: 254 bytes: must have at most 253",
		},
		"a dry run without a Pod": {"/v1/filter?dryRun=true", `{}`, "field Pod: missing"},
		"a dry run without a namespace": {
			"/v1/filter?dryRun=true", `{"Pod":{"metadata":{"name":"a"}},"NodeNames":["n"]}`,
			"field Pod.metadata.namespace: missing",
		},
		"a dry run without nodes": {"/v1/filter?dryRun=true", `{` + template + `}`, "field NodeNames: missing"},
		"a dry run with an empty list of nodes": {
			"/v1/filter?dryRun=true", `{` + template + `,"Nodes":{}}`, "field Nodes.items: missing",
		},
		"a dry run with names and nodes": {
			"/v1/filter?dryRun=true", `{` + template + `,"NodeNames":["a"],"Nodes":{}}`, "only one may be set",
		},
		"a dry run with a node without a name": {
			"/v1/filter?dryRun=true", `{` + template + `,"Nodes":{"items":[{}]}}`,
			"field Nodes.items[0].metadata.name: missing",
		},
		"a dry run with too many nodes": {
			"/v1/filter?dryRun=true", `{` + template + `,"Nodes":{"items":[` + many("{}", 5001) + `]}}`,
			"field Nodes.items: 5001 nodes: must be at most 5000",
		},
		"victims that are null": {
			"/v1/preempt", `{` + pod + `,"NodeNameToMetaVictims":{"a":null}}`,
			`NodeNameToMetaVictims["a"]`,
		},
		"victims as whole Pods are not enough": {
			"/v1/preempt", `{` + pod + `,"NodeNameToVictims":{}}`,
			"nodeCacheCapable",
		},
		"nor are whole Pods of a node without victims": {
			"/v1/preempt",
			`{` + pod + `,"NodeNameToVictims":{"a":{"Pods":[],"NumPDBViolations":0}},"NodeNameToMetaVictims":null}`,
			"nodeCacheCapable",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := post(t, fakePlacement{}, tc.path, tc.body)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Contains(t, got.Body.String(), tc.want)
		})
	}
}

// counts returns what a counter has counted, by the values of its labels. Series at 0 are left out.
func counts(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	counted := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if value := metric.GetCounter().GetValue(); value != 0 {
				counted[strings.Join(values, " ")] = value
			}
		}
	}
	return counted
}

func TestEachOutcomeIsExportedBeforeItsFirstRequest(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := server.New(fakePlacement{}, nil, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	series, err := testutil.GatherAndCount(registry, "spillway_extender_requests_total")
	require.NoError(t, err)
	assert.Equal(t, 5*6, series, "verbs and outcomes")
}

func TestQuestionsCountApart(t *testing.T) {
	for path, verb := range map[string]string{"/v1/filter?dryRun=true": "filter_dry_run", "/v1/explain": "explain"} {
		registry := prometheus.NewRegistry()
		result := placement.FilterResult{Names: []string{"local-0"}, Reason: policy.ReasonSwitchOn}
		counted := &counting{fakePlacement: fakePlacement{result: result}}
		handlers, err := server.New(counted, nil, registry, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, send(handlers.Verbs, path, []byte(filterBody)).Code)
		assert.Zero(t, counted.filtered)
		assert.Equal(t, map[string]float64{"ok " + verb: 1}, counts(t, registry, "spillway_extender_requests_total"))
		assert.Empty(t, counts(t, registry, "spillway_extender_decisions_total"))
	}
}

func TestTheExamplesInTheDocsAreAnswered(t *testing.T) {
	page, err := os.ReadFile("../../docs/extender.md")
	require.NoError(t, err)
	examples := strings.Split(string(page), "curl -sS 'http://127.0.0.1:10290")[1:]
	require.Len(t, examples, 2)
	for i, want := range []string{`"NodeNames":["new-node"]`, `"passed":["new-node"]`} {
		parts := strings.SplitN(examples[i], "'", 4) // The path, the option -d, and the body.
		require.Len(t, parts, 4)
		result := placement.FilterResult{Names: []string{"new-node"}, Reason: policy.ReasonSwitchOn}
		got := post(t, fakePlacement{result: result}, parts[0], parts[2])
		assert.Equal(t, http.StatusOK, got.Code, got.Body.String())
		assert.Contains(t, got.Body.String(), want)
	}
}

func TestTooManyImaginedNodesAreRejectedWithAMessage(t *testing.T) {
	for _, path := range []string{"/v1/filter?dryRun=true", "/v1/explain"} {
		got := post(t, fakePlacement{err: &placement.ImaginedError{Count: 101}}, path, filterBody)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Contains(t, got.Body.String(), "field Nodes: 101 virtual nodes that the cluster does not have")
	}
}

func TestUnknownNodesAreRejectedWithAMessage(t *testing.T) {
	unknown := &nodes.UnknownNodeError{Name: "nowhere"}
	for path, body := range map[string]string{
		"/v1/filter":             `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/filter?dryRun=true": `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/explain":            `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/prioritize":         `{` + pod + `,"NodeNames":["nowhere"]}`,
		"/v1/preempt":            `{` + pod + `,"NodeNameToMetaVictims":{"nowhere":{}}}`,
	} {
		got := post(t, fakePlacement{err: unknown}, path, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Contains(t, got.Body.String(), `unknown node "nowhere"`)
	}
}

func TestAFailureWithoutAFieldForItIsAStatusCode(t *testing.T) {
	for path, body := range map[string]string{"/v1/preempt": preemptBody, "/v1/explain": filterBody} {
		got := post(t, fakePlacement{err: errors.New("the watch has stalled")}, path, body)
		assert.Equal(t, http.StatusServiceUnavailable, got.Code)
		assert.Contains(t, got.Body.String(), "the watch has stalled")
	}
}

func TestAPanicIsAResponse(t *testing.T) {
	got := post(t, fakePlacement{panics: true}, "/v1/filter", `{`+pod+`,"NodeNames":["local-0"]}`)
	assert.Equal(t, http.StatusInternalServerError, got.Code)
}

func TestOtherPathsAndMethods(t *testing.T) {
	cases := map[string]struct {
		method, path string
		placement    fakePlacement
		want         int
	}{
		"healthz": {http.MethodGet, "/healthz", fakePlacement{notReady: true}, http.StatusOK},
		"readyz while it is not ready": {
			http.MethodGet, "/readyz", fakePlacement{notReady: true}, http.StatusServiceUnavailable,
		},
		"readyz":          {http.MethodGet, "/readyz", fakePlacement{}, http.StatusOK},
		"metrics":         {http.MethodGet, "/metrics", fakePlacement{}, http.StatusOK},
		"an unknown verb": {http.MethodPost, "/v1/bind", fakePlacement{}, http.StatusNotFound},
		"a wrong method":  {http.MethodGet, "/v1/filter", fakePlacement{}, http.StatusMethodNotAllowed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			handlers, err := server.New(tc.placement, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			recorder := httptest.NewRecorder()
			handlers.Together().ServeHTTP(recorder, httptest.NewRequest(tc.method, tc.path, nil))
			assert.Equal(t, tc.want, recorder.Code)
		})
	}
}

// TestOnlyNamedClientsAreServed: the listener has verified the certificate. Here the names in it count.
func TestOnlyNamedClientsAreServed(t *testing.T) {
	uri := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/kube-system/sa/kube-scheduler"}
	allowed := []string{"system:kube-scheduler", "scheduler.example.com", uri.String()}
	cases := map[string]struct {
		certificate *x509.Certificate
		want        int
		message     string
	}{
		"a common name": {
			&x509.Certificate{Subject: pkix.Name{CommonName: "system:kube-scheduler"}}, http.StatusOK, "",
		},
		"a DNS name": {
			&x509.Certificate{DNSNames: []string{"other", "scheduler.example.com"}}, http.StatusOK, "",
		},
		"a URI": {&x509.Certificate{URIs: []*url.URL{uri}}, http.StatusOK, ""},
		"a node of the cluster is rejected": {
			&x509.Certificate{Subject: pkix.Name{
				CommonName: "system:node:n1", Organization: []string{"system:kube-scheduler"},
			}},
			http.StatusForbidden, `is for "system:node:n1": only`,
		},
		"a name that begins like an allowed one is rejected": {
			&x509.Certificate{DNSNames: []string{"scheduler.example.com.evil.example"}},
			http.StatusForbidden, `"` + strings.Join(allowed, ", ") + `" may send requests`,
		},
		"a certificate without a name is rejected":   {&x509.Certificate{}, http.StatusForbidden, `is for ""`},
		"a client without a certificate is rejected": {nil, http.StatusForbidden, `is for ""`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			counted := &counting{
				fakePlacement: fakePlacement{result: placement.FilterResult{Names: []string{"local-0"}}},
			}
			handlers, err := server.New(counted, allowed, registry, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			request := httptest.NewRequest(
				http.MethodPost,
				"/v1/filter",
				strings.NewReader(`{`+pod+`,"NodeNames":["local-0"]}`),
			)
			if tc.certificate != nil {
				request.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tc.certificate}}
			}
			recorder := httptest.NewRecorder()
			handlers.Verbs.ServeHTTP(recorder, request)
			assert.Equal(t, tc.want, recorder.Code)
			assert.Contains(t, recorder.Body.String(), tc.message)
			assert.Equal(t, tc.want == http.StatusOK, counted.filtered == 1, "a rejected request takes no slot")
			outcome := "forbidden"
			if tc.want == http.StatusOK {
				outcome = "ok"
			}
			assert.Equal(t, map[string]float64{outcome + " filter": 1},
				counts(t, registry, "spillway_extender_requests_total"), "each request is counted")
		})
	}
}

// counting counts the calls of Filter.
type counting struct {
	fakePlacement
	filtered int
}

func (c *counting) Filter(ctx context.Context, pod *corev1.Pod, names []string) (placement.FilterResult, error) {
	c.filtered++
	return c.fakePlacement.Filter(ctx, pod, names)
}

func TestHealthAndVerbsAreSeparate(t *testing.T) {
	clients := []string{"system:kube-scheduler"}
	handlers, err := server.New(fakePlacement{}, clients, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
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

// FuzzDecoding searches for panics, for responses without a message, and for requests that take much time or memory.
// The tests above cover the contents.
func FuzzDecoding(f *testing.F) {
	f.Add(uint8(0), []byte(`{`+pod+`,"NodeNames":["local-0"]}`))
	f.Add(uint8(2), []byte(`{`+pod+`,"NodeNameToMetaVictims":{"a":{"Pods":[null]}}}`))
	f.Add(uint8(3), []byte(`{`+template+`,"Nodes":{"items":[{"metadata":{"name":"local-0"}}]}}`))
	f.Add(uint8(1), []byte(`{"Pod":null,"NodeNames":[null]}`))
	for _, body := range attacks() {
		for i := range verbs {
			if len(body) < 10_000 { // TestAttacksTakeLittleTimeAndMemory has the others.
				f.Add(uint8(i), []byte(body))
			}
		}
	}
	handler := attacked(f)
	f.Fuzz(func(t *testing.T, verb uint8, body []byte) {
		var recorder *httptest.ResponseRecorder
		costtest.AtMost(t, uint64(8<<20+1000*len(body)), func() {
			recorder = send(handler, verbs[int(verb)%len(verbs)], body)
		})
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
