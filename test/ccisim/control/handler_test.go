package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// recorder is a Simulator that records the calls, and fails on request.
type recorder struct {
	calls []string
	err   error
}

func (r *recorder) record(format string, args ...any) error {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
	return r.err
}

func (r *recorder) Requests() []api.RequestCount      { return []api.RequestCount{{Verb: "get", Count: 3}} }
func (r *recorder) DroppedFields() []api.DroppedField { return []api.DroppedField{{Field: "x"}} }
func (r *recorder) ResetRequests()                    { _ = r.record("ResetRequests") }
func (r *recorder) PodsEver() []store.PodRecord       { return []store.PodRecord{{Name: "web"}} }
func (r *recorder) Faults() []faults.Fault            { return []faults.Fault{{ID: "fault-1"}} }
func (r *recorder) ResetFaults()                      { _ = r.record("ResetFaults") }
func (r *recorder) Compact()                          { _ = r.record("Compact") }
func (r *recorder) CutWatches(abrupt bool)            { _ = r.record("CutWatches %v", abrupt) }
func (r *recorder) RemoveFault(id string) bool        { return r.record("RemoveFault %s", id) == nil }
func (r *recorder) Policies() faults.Policies         { return faults.Policies{Fields: faults.RefuseFields} }

func (r *recorder) AddFault(f faults.Fault) (faults.Fault, error) {
	err := r.record("AddFault %s", f.Kind)
	f.ID = "fault-1"
	return f, err
}

func (r *recorder) SetPolicies(policies faults.Policies) error {
	return r.record("SetPolicies %s", policies.Fields)
}

func (r *recorder) SetCredentials(list []api.Credential) error {
	return r.record("SetCredentials %d", len(list))
}

func (r *recorder) SetRoutes(cidrs []string) error { return r.record("SetRoutes %s", cidrs) }

func (r *recorder) AddImageSnapshotPod(namespace string) (string, error) {
	return "cci-imagesnapshot-1", r.record("AddImageSnapshotPod %s", namespace)
}

func (r *recorder) AppendLog(namespace, pod, container, text string) error {
	return r.record("AppendLog %s %s %s %s", namespace, pod, container, text)
}

func (r *recorder) FinishContainer(namespace, pod, container string, exitCode int32) error {
	return r.record("FinishContainer %s %s %s %d", namespace, pod, container, exitCode)
}

func TestRequests(t *testing.T) {
	const container = "namespaces/ns/pods/web/containers/c/"
	cases := map[string]struct {
		method, path, body string
		call               string
		status             int
		response           string
		// failed is the status if the simulator returns an error, 0 if it returns none.
		failed int
	}{
		"counts":             {"GET", "requests", "", "", 200, `"count":3`, 0},
		"dropped fields":     {"GET", "dropped-fields", "", "", 200, `"field":"x"`, 0},
		"Pods":               {"GET", "pods", "", "", 200, `"name":"web"`, 0},
		"faults":             {"GET", "faults", "", "", 200, `"id":"fault-1"`, 0},
		"policies":           {"GET", "policies", "", "", 200, `"fields":"refuse"`, 0},
		"reset of counts":    {"DELETE", "requests", "", "ResetRequests", 204, "", 0},
		"reset of faults":    {"DELETE", "faults", "", "ResetFaults", 204, "", 0},
		"compaction":         {"POST", "history/compact", "", "Compact", 204, "", 0},
		"a cut":              {"POST", "watches/cut", "", "CutWatches false", 204, "", 0},
		"an abrupt cut":      {"POST", "watches/cut?abrupt=1", "", "CutWatches true", 204, "", 0},
		"a new fault":        {"POST", "faults", `{"kind":"soldOut"}`, "AddFault soldOut", 201, `"id":"fault-1"`, 400},
		"removal of a fault": {"DELETE", "faults/fault-1", "", "RemoveFault fault-1", 204, "", 404},
		"new policies":       {"PUT", "policies", `{"fields":"drop"}`, "SetPolicies drop", 200, `"fields":"refuse"`, 400},
		"credentials":        {"PUT", "credentials", `[{},{}]`, "SetCredentials 2", 204, "", 400},
		"routes":             {"PUT", "routes", `["10.0.0.0/8"]`, "SetRoutes [10.0.0.0/8]", 204, "", 400},
		"an image snapshot": {
			"POST", "namespaces/ns/image-snapshot", "", "AddImageSnapshotPod ns", 201, `"name":"cci-imagesnapshot-1"`, 409,
		},
		"log lines":             {"POST", container + "log", "hello", "AppendLog ns web c hello", 204, "", 409},
		"an end":                {"POST", container + "finish", `{"exitCode":3}`, "FinishContainer ns web c 3", 204, "", 409},
		"an end without a body": {"POST", container + "finish", "", "FinishContainer ns web c 0", 204, "", 409},
	}
	send := func(sim Simulator, method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Handler(sim).ServeHTTP(w, httptest.NewRequest(method, Prefix+path, strings.NewReader(body)))
		return w
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			sim := &recorder{}
			w := send(sim, tc.method, tc.path, tc.body)
			assert.Equal(t, tc.status, w.Code)
			assert.Contains(t, w.Body.String(), tc.response)
			assert.Equal(t, tc.call, strings.Join(sim.calls, "; "))
			if tc.failed == 0 {
				return
			}
			w = send(&recorder{err: errors.New("the reason")}, tc.method, tc.path, tc.body)
			assert.Equal(t, tc.failed, w.Code)
			assert.Contains(t, w.Body.String(), `{"error":`)
		})
	}
	for _, path := range []string{"faults", container + "finish"} {
		w := send(&recorder{}, "POST", path, `{"unknown":1}`)
		assert.Equal(t, http.StatusBadRequest, w.Code)
		assert.Contains(t, w.Body.String(), "decoding the body")
	}
	assert.Equal(t, http.StatusNotFound, send(&recorder{}, "GET", "other", "").Code)
}
