package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
)

const (
	timeout = time.Minute
	tick    = 5 * time.Millisecond
)

// account is the one with which the requests were recorded.
var account = ccisim.Credential{
	AccessKey: "AKTEST", SecretKey: "secret of the test", ProjectID: "project-1", DomainID: "domain-1",
}

// recorded is one request of another client.
type recorded struct {
	Step          string            `json:"step"`
	Method        string            `json:"method"`
	Path          string            `json:"path"`
	Query         string            `json:"query"`
	SignedHeaders string            `json:"signedHeaders"`
	Headers       map[string]string `json:"headers"`
	Body          json.RawMessage   `json:"body"`
	// Until is the field of the answer for which the client has repeated a GET, with its value: "status.status=Ready".
	Until string `json:"until"`
	// Status is what the client got.
	Status int `json:"status"`
}

// The whole life of a namespace, as another client lives it, without a refusal.
func TestRecordedLifeOfAnotherClient(t *testing.T) {
	raw, err := os.ReadFile("testdata/terraform.json")
	require.NoError(t, err)
	var life []recorded
	require.NoError(t, json.Unmarshal(raw, &life))
	require.NotEmpty(t, life)
	for name, policies := range map[string]ccisim.Policies{
		"by default": {},
		"with the documented limits": {
			SecretTypes: ccisim.DocumentedLimits, Searches: ccisim.DocumentedLimits, MaxContainers: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := ccisimtest.Quick(account)
			config.Policies = policies
			_, url := ccisimtest.Start(t, config)
			r := &replay{t: t, base: url, last: map[string]map[string]any{}}
			for _, request := range life {
				r.send(request)
			}
		})
	}
}

// replay sends recorded requests.
type replay struct {
	t    *testing.T
	base string
	// last is the object of the last answer of each path.
	last map[string]map[string]any
}

func (r *replay) send(request recorded) {
	r.t.Helper()
	var status int
	var answer []byte
	again := func() bool {
		status, answer = r.once(request)
		return status == request.Status && has(answer, request.Until)
	}
	if request.Method == http.MethodGet {
		require.Eventually(r.t, again, timeout, tick, "%s: %s %s", request.Step, request.Method, request.Path)
	} else {
		require.True(r.t, again(), "%s: %s %s: %d %s", request.Step, request.Method, request.Path, status, answer)
	}
	var object map[string]any
	if json.Unmarshal(answer, &object) == nil && status < http.StatusBadRequest {
		r.last[request.Path] = object
	}
}

// has reports whether an answer has the value of a field, which is written as in recorded.Until.
func has(answer []byte, field string) bool {
	if field == "" {
		return true
	}
	path, want, _ := strings.Cut(field, "=")
	var value any
	if json.Unmarshal(answer, &value) != nil {
		return false
	}
	for name := range strings.SplitSeq(path, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value == want
}

// once sends a request now, signed as the client has signed it: the same headers, another time.
func (r *replay) once(request recorded) (status int, answer []byte) {
	r.t.Helper()
	body := r.current(request)
	out, err := http.NewRequestWithContext(r.t.Context(), request.Method, r.base+request.Path, bytes.NewReader(body))
	require.NoError(r.t, err)
	out.URL.RawQuery = request.Query
	for name, value := range request.Headers {
		out.Header.Set(name, value)
	}
	out.Header.Set("X-Sdk-Date", time.Now().UTC().Format("20060102T150405Z"))
	signature, err := api.Signature(out, body, strings.Split(request.SignedHeaders, ";"), account.SecretKey)
	require.NoError(r.t, err)
	out.Header.Set("Authorization", "SDK-HMAC-SHA256 Access="+account.AccessKey+
		", SignedHeaders="+request.SignedHeaders+", Signature="+signature)
	response, err := http.DefaultClient.Do(out)
	require.NoError(r.t, err)
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, answer
}

// current returns the body of a request. An object that the client has read before has the UID and the version of now.
func (r *replay) current(request recorded) []byte {
	r.t.Helper()
	if len(request.Body) == 0 {
		return nil
	}
	var object map[string]any
	require.NoError(r.t, json.Unmarshal(request.Body, &object))
	meta, _ := object["metadata"].(map[string]any)
	if meta["uid"] == nil {
		return request.Body
	}
	read, _ := r.last[request.Path]["metadata"].(map[string]any)
	for _, name := range []string{"uid", "resourceVersion"} {
		meta[name] = read[name]
	}
	body, err := json.Marshal(object)
	require.NoError(r.t, err)
	return body
}
