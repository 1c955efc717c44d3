package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
)

var verbs = []string{"/v1/filter", "/v1/prioritize", "/v1/preempt", "/v1/filter?dryRun=true", "/v1/explain"}

// many returns n copies of an element of a list.
func many(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

// with returns the Pod of a request with a further field.
func with(field string) string {
	return strings.TrimSuffix(pod, "}") + `,` + field + `}`
}

// attacks are bodies that who can reach the port could send to slow down or stop the extender.
func attacks() map[string]string {
	limit := func(value string) string {
		return `{` + with(`"spec":{"overhead":{"cpu":`+value+`}}`) + `,"NodeNames":["n"],"NodeNameToMetaVictims":{}}`
	}
	return map[string]string{
		"a quantity of four million digits": limit(`"1e-4000000"`),
		"a number of four million digits":   limit(`1e-4000000`),
		"a large exponent":                  limit(`"1e4000000"`),
		"a long quantity":                   limit(`"` + strings.Repeat("9", 1<<20) + `"`),
		"a quantity of a victim": `{` + pod + `,"NodeNameToVictims":{"n":{"pods":[{"spec":{"overhead":` +
			`{"cpu":"1e-4000000"}}}]}}}`,
		"a quantity of a node": `{` + pod + `,"Nodes":{"items":[{"status":{"capacity":{"cpu":"1e-4000000"}}}]}}`,
		"whole nodes that grow in the answer": `{` + pod + `,"Nodes":{"items":[` +
			many(`{"metadata":{"name":"local-0"}}`, 5000) + `]}}`,
		"deep nesting":               `{"Pod":` + strings.Repeat(`{"a":`, 1_500_000) + `1`,
		"nodes of two bytes":         `{` + pod + `,"Nodes":{"items":[` + many("1", 4_000_000) + `]}}`,
		"empty containers":           `{` + with(`"spec":{"containers":[`+many("{}", 49_000)+`]}`) + `,"NodeNames":["n"]}`,
		"containers of two bytes":    `{` + with(`"spec":{"containers":[`+many("1", 4_000_000)+`]}`) + `}`,
		"empty victims":              `{` + pod + `,"NodeNameToMetaVictims":{"n":{"Pods":[` + many("{}", 49_000) + `]}}}`,
		"null victims":               `{` + pod + `,"NodeNameToMetaVictims":{` + manyKeys(200_000) + `}}`,
		"as many nodes as allowed":   `{` + pod + `,"NodeNames":[` + many(`"n"`, 50_000) + `]}`,
		"many nodes":                 `{` + pod + `,"NodeNames":[` + many(`"n"`, 2_000_000) + `]}`,
		"long names of null victims": `{` + pod + `,"NodeNameToMetaVictims":{"` + strings.Repeat("n", 1<<20) + `":null}}`,
		"a long message of a condition": `{` + with(`"status":{"conditions":[{"type":"PodScheduled","message":"`+
			strings.Repeat("m", 7<<20)+`"}]}`) + `,"NodeNames":["n"]}`,
		"long keys": `{"Pod":{"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":"1","labels":{"` +
			policy.BurstLabel + `":"` + strings.Repeat("l", 2<<20) + `"},"annotations":{"` +
			policy.LocalReplicasAnnotation + `":"` + strings.Repeat("a", 2<<20) + `","` + policy.SwitchKey + `":"` +
			strings.Repeat("s", 2<<20) + `"}}},"NodeNames":["n"]}`,
		"restricted volumes": `{` + with(`"spec":{"volumes":[`+many(`{"name":"v","hostPath":{"path":"/v"}}`, 20_000)+
			`]}`) + `,"NodeNames":["n"]}`,
		"many tolerations": `{` + with(`"spec":{"tolerations":[`+many(`{"key":"a"}`, 49_000)+`]}`) + `}`,
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d":null,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func attacked(t testing.TB) http.Handler {
	t.Helper()
	fixed := fakePlacement{result: placement.FilterResult{Names: []string{"local-0"}}}
	handlers, err := server.New(fixed, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return handlers.Together()
}

func send(handler http.Handler, path string, body []byte) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	return recorder
}

func TestAttacksTakeLittleTimeAndMemory(t *testing.T) {
	// The time is processor time under the race detector, which makes it 10 to 20 times as long.
	const maxCPU, maxAlloc, maxAnswer = 20 * time.Second, 300 << 20, 2 << 20
	handler := attacked(t)
	for name, body := range attacks() {
		for _, path := range verbs {
			t.Run(name+path, func(t *testing.T) {
				var recorder *httptest.ResponseRecorder
				cost := costtest.Of(func() { recorder = send(handler, path, []byte(body)) })
				t.Logf("status %d, %s, %d KiB for %d KiB: %.300s",
					recorder.Code, cost.CPU, cost.Memory>>10, len(body)>>10, recorder.Body)
				assert.Less(t, cost.CPU, maxCPU)
				assert.Less(t, cost.Memory, uint64(maxAlloc))
				assert.Less(t, recorder.Body.Len(), maxAnswer)
			})
		}
	}
}

func TestAQuantityThatTakesLongToParseIsRejectedWithItsName(t *testing.T) {
	for _, path := range verbs {
		recorder := send(attacked(t), path, []byte(attacks()["a quantity of four million digits"]))
		assert.Equal(t, http.StatusBadRequest, recorder.Code)
		assert.Contains(t, recorder.Body.String(), `Pod.spec.overhead.cpu: invalid quantity "1e-4000000"`)
	}
}

// BenchmarkFilter is the time of a request without that of placement, for a usual Pod and 1,000 nodes.
func BenchmarkFilter(b *testing.B) {
	var usual corev1.Pod
	require.NoError(b, json.Unmarshal([]byte(strings.TrimPrefix(pod, `"Pod":`)), &usual))
	for _, name := range []string{"web", "proxy", "log"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + ":1.2.3"}
		for _, key := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
			c.Env = append(c.Env, corev1.EnvVar{Name: key, Value: "http://service.namespace.svc:8080/" + key})
		}
		usual.Spec.Containers = append(usual.Spec.Containers, c)
	}
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("node-%d.example.com", i))
	}
	body, err := json.Marshal(map[string]any{"Pod": usual, "NodeNames": names})
	require.NoError(b, err)
	handler := attacked(b)
	b.ReportAllocs()
	for b.Loop() {
		if recorder := send(handler, "/v1/filter", body); recorder.Code != http.StatusOK {
			b.Fatal(recorder.Body)
		}
	}
}
