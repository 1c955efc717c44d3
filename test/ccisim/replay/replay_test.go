package replay

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

const firstLine = `{"format":"` + transcript.Format + `"}` + "\n"

// read returns the requests of a transcript.
func read(t *testing.T, lines string) []transcript.Exchange {
	t.Helper()
	exchanges, err := transcript.Read(strings.NewReader(firstLine + lines))
	require.NoError(t, err)
	return exchanges
}

// ask sends a request to a replay, and returns the status and the body. The status is 0 if there is no answer.
func ask(t *testing.T, server *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := server.Client().Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func newServer(t *testing.T, exchanges []transcript.Exchange) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(Handler(exchanges))
	t.Cleanup(server.Close)
	return server
}

func TestOddAnswersAreReplayed(t *testing.T) {
	server := newServer(t, read(t,
		`{"service":"cci","method":"GET","path":"/none","auth":"none","status":0,"error":"no route"}
{"service":"cci","method":"GET","path":"/empty","auth":"none","status":204,"text":"not allowed here"}
{"service":"cci","method":"GET","path":"/odd","auth":"none","status":999,"header":{"Retry-After":"-9","Date":"year 0"}}
{"service":"cci","method":"GET","path":"/time","auth":"none","status":200,"answer":{"t":"0000-01-01T00:00:00Z"}}
{"service":"cci","method":"GET","path":"/p/exec","auth":"none","status":101,"text":"x"}
`))
	for path, want := range map[string]int{
		"/none": 0, "/empty": 204, "/odd": 999, "/time": 200, "/p/exec": 404, "/": 404,
	} {
		status, body := ask(t, server, "GET", path, "")
		assert.Equal(t, want, status, "%s: %s", path, body)
	}
}

func TestTextsOfTheClientReplaceThoseOfTheTranscript(t *testing.T) {
	server := newServer(t, read(t,
		`{"service":"cci","method":"POST","path":"/ns","auth":"none","status":201,"answer":{"name":"a"},`+
			`"request":{"name":"a","until":"b","empty":""}}
{"service":"cci","method":"GET","path":"/ns/a/pods","auth":"none","status":200,"answer":{"in":"a"}}
`))
	status, body := ask(t, server, "POST", "/ns", `{"name":"x","until":"y","empty":"z"}`)
	assert.Equal(t, 201, status)
	assert.JSONEq(t, `{"name":"x"}`, body)
	status, body = ask(t, server, "GET", "/ns/x/pods", "")
	assert.Equal(t, 200, status)
	assert.JSONEq(t, `{"in":"x"}`, body)
	status, body = ask(t, server, "GET", "/ns/q/pods", "")
	assert.Equal(t, 404, status)
	assert.Equal(t, "the transcript has no GET /ns/q/pods\n", body)
}

// FuzzReplay searches for a transcript that ends the server, or the search for policies.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"service":"cci","method":"POST","path":"/ns","auth":"none","status":201,"request":{"name":"a"}}`))
	f.Add([]byte(`{"step":"delete","service":"cci","method":"DELETE","path":"/p","auth":"none","status":200,` +
		`"request":[]}`))
	f.Add([]byte(`{"service":"cci","method":"GET","path":"/p/exec","auth":"token","status":101,` +
		`"query":{"command":["id"]}}`))
	f.Add([]byte(`{"service":"iam","method":"POST","path":"/v3/auth/tokens","auth":"signature","status":201}`))
	f.Fuzz(func(t *testing.T, lines []byte) {
		exchanges, err := transcript.Read(bytes.NewReader(append([]byte(firstLine), lines...)))
		if err != nil {
			return
		}
		_, _ = Policies(exchanges), Missing(exchanges)
		handler := Handler(exchanges)
		for _, e := range exchanges[:min(len(exchanges), 20)] {
			request := httptest.NewRequestWithContext(t.Context(), e.Method, "http://replay/", bytes.NewReader(e.Request))
			request.URL.Path, request.URL.RawQuery = e.Path, e.Query.Encode()
			func() {
				defer func() {
					if r := recover(); r != nil {
						err, _ := r.(error)
						require.True(t, errors.Is(err, http.ErrAbortHandler), "%v", r)
						require.Zero(t, e.Status)
					}
				}()
				handler.ServeHTTP(httptest.NewRecorder(), request)
			}()
		}
	})
}
