package transcript

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answers is a transport with one answer.
type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func answer(status int, body string, header http.Header) answers {
	return func(*http.Request) (*http.Response, error) {
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// exchange sends a request through a recorder, reads the answer, and returns what is kept.
func exchange(t *testing.T, next http.RoundTripper, method, target, body string, header http.Header) Exchange {
	t.Helper()
	r := NewRecorder(next, "https://cci.test", "https://iam.test")
	r.Begin("step")
	request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		request.Header[name] = values
	}
	if response, err := r.RoundTrip(request); err == nil {
		_, err := io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	require.Len(t, r.Exchanges(), 1)
	return r.Exchanges()[0]
}

func TestARecorderKeepsWhatMattersToAClient(t *testing.T) {
	got := exchange(t, answer(409, `{"reason":"Conflict"}`, http.Header{
		"Date": {"now"}, "Set-Cookie": {"secret"}, "Content-Type": {"application/json"},
	}), "POST", "https://cci.test/apis/x?limit=1", `{"a":1}`, http.Header{
		"Authorization": {"SDK-HMAC-SHA256 Access=key, SignedHeaders=host;x-sdk-date, Signature=abc"},
	})
	assert.Equal(t, Exchange{
		Step: "step", Service: ServiceCCI, Method: "POST", Path: "/apis/x", Query: url.Values{"limit": {"1"}},
		Auth: AuthSignature, SignedHeaders: "host;x-sdk-date", Request: json.RawMessage(`{"a":1}`), Status: 409,
		Header: map[string]string{"Date": "now", "Content-Type": "application/json"},
		Answer: json.RawMessage(`{"reason":"Conflict"}`),
	}, got)
}

func TestTheFormOfABodyIsKept(t *testing.T) {
	page := exchange(t, answer(403, "<html>blocked</html>", nil), "GET", "https://cci.test/x", "", nil)
	assert.Equal(t, "<html>blocked</html>", page.Text)
	assert.Equal(t, AuthNone, page.Auth)
	watch := exchange(t, answer(200, `{"type":"ADDED"}`+"\n"+`{"type":"BOOKMARK"}`+"\n"+`{"ty`, nil),
		"GET", "https://cci.test/pods?watch=true", "", http.Header{"X-Auth-Token": {"t"}})
	assert.Len(t, watch.Stream, 2, "the event that was cut off is left out")
	assert.Equal(t, AuthToken, watch.Auth)
	broken := exchange(t, answers(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("no route")
	}), "GET", "https://iam.test/", "", nil)
	assert.Equal(t, "no route", broken.Error)
	assert.Zero(t, broken.Status)
	assert.Equal(t, ServiceIAM, broken.Service)
}

// written returns an exchange as it is written.
func written(t *testing.T, r *Redactor, exchanges ...Exchange) string {
	t.Helper()
	for i := range exchanges {
		exchanges[i].Method, exchanges[i].Auth = http.MethodGet, AuthSignature
	}
	var out strings.Builder
	require.NoError(t, r.Write(&out, exchanges))
	_, err := Read(strings.NewReader(out.String()))
	require.NoError(t, err, "what is written can be read")
	return out.String()
}

func TestKnownValuesAreHiddenInEveryEncoding(t *testing.T) {
	const secret = `s3cr/t+k"y of the=account`
	quoted, err := json.Marshal(secret)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"plain": secret, "escaped in a query": url.QueryEscape(secret), "escaped in a path": url.PathEscape(secret),
		"in hex": hex.EncodeToString([]byte(secret)), "in JSON in a text": string(quoted),
		"in base64":                 base64.StdEncoding.EncodeToString([]byte(secret)),
		"in base64 after one byte":  base64.StdEncoding.EncodeToString([]byte("u" + secret + "x")),
		"in base64 after two bytes": base64.StdEncoding.EncodeToString([]byte("us" + secret + "xy")),
		"in base64 after a name":    base64.URLEncoding.EncodeToString([]byte("use" + secret)),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRedactor("doctor-")
			r.Hide("SECRET", secret)
			got := written(t, r, Exchange{Service: ServiceCCI, Text: "a " + text + " b"})
			assert.Contains(t, got, "SECRET")
			for _, form := range forms(secret) {
				assert.NotContains(t, got, form)
			}
		})
	}
}

func TestWhatLooksLikeAnIDIsHidden(t *testing.T) {
	r := NewRedactor("doctor-")
	const id, uuid = "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "4779ab1c-7c1a-44b1-a02e-93dfc361b32d"
	got := written(t, r, Exchange{Service: ServiceCCI, Path: "/v1/" + id, Text: fmt.Sprintf(
		"%s %s 10.0.1.7 fd00::17 127.0.0.1 10:20:30 v1.2.3 iam::%s:user:bob HPUAXXEXAMPLE1234567 %s",
		uuid, uuid, id, strings.Repeat("TOKEN", 50))})
	for _, gone := range []string{id, uuid, "10.0.1.7", "fd00::17", "bob", "HPUAXXEXAMPLE1234567", "TOKENTOKEN"} {
		assert.NotContains(t, got, gone)
	}
	for _, kept := range []string{"127.0.0.1", "10:20:30", "v1.2.3", "198.18.0.", "2001:db8::", "iam::account-"} {
		assert.Contains(t, got, kept)
	}
	read, err := Read(strings.NewReader(got))
	require.NoError(t, err)
	first, second, _ := strings.Cut(read[0].Text, " ")
	assert.True(t, strings.HasPrefix(second, first+" "), "one value has one placeholder")
}

func TestWhatBelongsToOthersIsLeftOut(t *testing.T) {
	r := NewRedactor("doctor-")
	got := written(t, r,
		Exchange{Service: ServiceCCI, Path: "/namespaces", Answer: json.RawMessage(
			`{"items":[{"metadata":{"name":"payroll"}},{"metadata":{"name":"doctor-1"}}]}`)},
		Exchange{Service: ServiceCCI, Path: "/namespaces/doctor-1/secrets", Answer: json.RawMessage(
			`{"items":[{"metadata":{"namespace":"doctor-1"},"data":{".dockerconfigjson":"aGlkZGVu"}}]}`)},
		Exchange{Service: ServiceCCI, Path: "/x", Request: json.RawMessage(`{"kind":"Secret","stringData":{"k":"hidden"}}`)},
		Exchange{Service: ServiceIAM, Path: "/v3/auth/tokens", Status: 201, Request: json.RawMessage(`{"secret":"hidden"}`),
			Answer: json.RawMessage(`{"user":"hidden"}`)},
		Exchange{Service: ServiceCCI, Path: "/v1/agency", Status: 200, Answer: json.RawMessage(
			`[{"trustDomainName": "payroll \"hidden\"", "n": 1}]`)},
		Exchange{Service: ServiceVPC, Path: "/v2.0/subnets/x", Status: 200, Answer: json.RawMessage(`{"name":"payroll"}`)},
	)
	for _, gone := range []string{"payroll", "hidden", "aGlkZGVu"} {
		assert.NotContains(t, got, gone)
	}
	assert.Contains(t, got, `[{"n":1,"trustDomainName":"(left out)"}]`)
	assert.Contains(t, got, `{"items":[{},{"metadata":{"name":"doctor-1"}}]}`)
}

// The header of a signature is not redacted: a project of this name would be left in it.
func TestATranscriptWithAKnownValueIsNotWritten(t *testing.T) {
	r := NewRedactor("doctor-")
	r.Hide("PROJECT", "x-project-id")
	var out strings.Builder
	err := r.Write(&out, []Exchange{{Service: ServiceCCI, SignedHeaders: "host;x-project-id"}})
	require.EqualError(t, err, "the transcript is not written: it would contain what PROJECT stands for")
	assert.Empty(t, out.String())
}

func TestShapesOfOnePathAndAnotherAreEqual(t *testing.T) {
	shape := func(path, body string) Shape {
		e := Exchange{Path: path, Status: 404, Answer: json.RawMessage(body)}
		return e.Shape()
	}
	assert.Equal(t, shape("/a", `{"error_code":"APIG.0101","message":"no /a"}`),
		shape("/b", `{"error_code":"APIG.0101","message":"no /b"}`))
	assert.Equal(t, "404 APIG.0101", shape("/a", `{"error_code":"APIG.0101"}`).String())
	assert.Equal(t, "404 NotFound CCI.01", shape("/a", `{"reason":"NotFound","errorCode":"CCI.01"}`).String())
}
