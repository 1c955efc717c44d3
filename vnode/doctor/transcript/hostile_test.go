package transcript

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func inBase64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// The places in which a service, a gateway, a proxy or a container may repeat what identifies an account.
func TestNothingThatIdentifiesAnAccountIsLeftInOddPlaces(t *testing.T) {
	const key, uuid = "q8Zt+simulated/secret=key%20of0the4account", "4779ab1c-7c1a-44b1-a02e-93dfc361b32d"
	escaped := func(c byte) string { return fmt.Sprintf(`\u%04x`, c) }
	everyByte := func(form func(byte) string) string {
		var out strings.Builder
		for i := range len(key) {
			out.WriteString(form(key[i]))
		}
		return out.String()
	}
	text := func(text string) Exchange { return Exchange{Service: ServiceCCI, Text: text} }
	answer := func(body string) Exchange {
		return Exchange{Service: ServiceCCI, Status: 403, Answer: json.RawMessage(body)}
	}
	for name, test := range map[string]struct {
		exchange Exchange
		// gone are the texts that must not be left.
		gone []string
	}{
		"a key in another case":           {text("AK " + strings.ToUpper(key)), []string{"SIMULATED"}},
		"a key in lower case":             {text(strings.ToLower(key)), []string{"simulated"}},
		"escaped twice for a URL":         {text(url.QueryEscape(url.QueryEscape(key))), []string{"simulated"}},
		"escaped in lower case for a URL": {text(strings.ToLower(url.QueryEscape(key))), []string{"simulated"}},
		"every byte escaped for a URL": {
			text(everyByte(func(c byte) string { return fmt.Sprintf("%%%02x", c) })), []string{"%71%38"},
		},
		"every byte escaped for JSON": {text(everyByte(escaped)), []string{"\\u0071"}},
		"slashes escaped for JSON":    {text(strings.ReplaceAll(key, "/", `\/`)), []string{"simulated"}},
		"in HTML":                     {text(html.EscapeString(key)), []string{"simulated"}},
		"every byte as an entity of HTML": {
			text("see " + everyByte(func(c byte) string { return fmt.Sprintf("&#%d;", c) })), []string{"&#113;"},
		},
		"base64 of base64": {
			text(inBase64(inBase64("key: " + key))), []string{inBase64(inBase64("key: " + key))},
		},
		"an escaped base64": {text(url.QueryEscape(inBase64(key))), []string{inBase64(key)[:20]}},
		"hex in capitals":   {text(strings.ToUpper(hex.EncodeToString([]byte(key)))), []string{"71385A74"}},
		"an ID in base64": {
			text(inBase64(`{"project":"` + uuid + `"}`)), []string{inBase64(`{"project":"` + uuid + `"}`)},
		},
		"an ID after an underline":         {text("agency_0a1b2c3d4e5f60718293a4b5c6d7e8f9_x"), []string{"0a1b2c3d4e5f"}},
		"an access key after an underline": {text("AK_HPUAXXEXAMPLE7654321"), []string{"EXAMPLE7654321"}},
		"a digest":                         {text("busybox@sha256:" + strings.Repeat("0a1b2c3d", 8)), []string{"0a1b2c3d"}},
		"a prefix of IPv6":                 {text("2407:c080:1200:15e6::/64"), []string{"2407:c080"}},
		"IPv6 with a port":                 {text("dial [2407:c080:1200:15e6::7]:443"), []string{"2407:c080"}},
		"IPv6 before a colon":              {text("fe80::f816:3eff:fe12:3456: refused"), []string{"f816:3eff"}},
		"IPv4 in IPv6":                     {text("::ffff:10.0.1.7 and ::ffff:0a00:0107"), []string{"10.0.1.7", "0a00:0107"}},
		"a MAC address":                    {text("fa:16:3e:12:34:56 FA-16-3E-12-34-56"), []string{"16:3e:12", "16-3E-12"}},
		"an address in a name":             {text("node ip-10-0-1-7 vm_10.0.1.8"), []string{"10-0-1-7", "10.0.1.8"}},
		"a token of the kind JWT": {
			text("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"), []string{"eyJ", "c2lnbm"},
		},
		"a key in PEM": {
			text("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----"), []string{"MIIabc"},
		},
		"a kubeconfig": {
			text("users:\n- user:\n    token: abc.def\n    client-key-data: LS0tLS1C\n"),
			[]string{"abc.def", "LS0tLS1C"},
		},
		"a password":              {text("db_password=hunter2 next"), []string{"hunter2"}},
		"the header of a request": {text("Authorization: Basic Ym9iOmh1bnRlcjI="), []string{"Ym9iOmh1"}},
		"a place of a redirect": {
			text(`see <a href="https://login.corp.acme.com/sso/bob@acme.com?token=t0ps3cret&x=1#frag">`),
			[]string{"acme", "bob", "t0ps3cret", "frag"},
		},
		"a user in a URL": {
			text("proxy http://bob:hunter2@proxy:3128/"), []string{"bob", "hunter2", "proxy:3128"},
		},
		"a machine": {
			text("lookup build7.corp.acme.internal on 10.0.0.2:53"), []string{"build7", "acme", "10.0.0.2"},
		},
		"a bucket":           {text("acme-payroll.obs.cn-north-4.myhuaweicloud.com"), []string{"acme", "payroll"}},
		"an address of mail": {text("ask bob@acme.example"), []string{"bob@", "acme"}},
		"domains in resolv.conf": {
			text("nameserver 10.0.0.2\nsearch acme.prod payroll\noptions ndots:5"), []string{"acme", "payroll"},
		},
		"an authority of certificates": {
			Exchange{Service: ServiceCCI, Error: `x509: authority "Acme Root CA"`}, []string{"Acme"},
		},
		"a header of an answer": {
			Exchange{Service: ServiceCCI, Header: map[string]string{"Content-Type": "text/html; x=" + uuid}}, []string{uuid},
		},
		"a name of a parameter": {
			Exchange{Service: ServiceCCI, Query: url.Values{uuid: {"x"}, "token": {"t0ps3cret"}}}, []string{uuid, "t0ps3cret"},
		},
		"JSON in a text of JSON": {
			answer(`{"annotations":{"last-applied":"{\"kind\":\"Secret\",\"data\":{\"db\":\"aHVudGVyMg==\"}}"}}`),
			[]string{"aHVudGVyMg", "db"},
		},
		"keys of a Secret": {answer(`{"kind":"Secret","data":{"acme-db-password":"eA=="}}`), []string{"acme", "eA=="}},
		"a user in an annotation": {
			answer(`{"metadata":{"annotations":{"cci.io/created-by":"bob","x/account_name":"acme"}}}`), []string{"bob", "acme"},
		},
		"a continue token": {
			answer(`{"metadata":{"continue":"` + inBase64(`{"rv":7,"start":"payroll/db"}`) + `"}}`),
			[]string{inBase64(`{"rv":7,"start":"payroll/db"}`)},
		},
		"numbers": {answer(`{"id":12345678901234567890123}`), []string{"12345678901234567890123"}},
		"an error of IAM": {
			Exchange{
				Service: ServiceIAM, Status: 401,
				Answer: json.RawMessage(`{"error_code":"IAM.0011","error_msg":"bob of acme"}`),
			},
			[]string{"bob", "acme"},
		},
		"a page of a proxy": {text("\n<html><title>Acme Corp: blocked for jdoe</title>"), []string{"Acme", "jdoe"}},
		"a page of the agency": {
			Exchange{Service: ServiceCCI, Path: "/v1/agency", Text: "<p>acme</p>"}, []string{"acme"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRedactor("doctor-")
			r.Hide("SECRET-KEY", key)
			got := written(t, r, test.exchange)
			for _, gone := range test.gone {
				assert.NotContains(t, got, gone)
				assert.NotContains(t, got, string(quote(gone)[1:len(quote(gone))-1]))
			}
		})
	}
}

func TestWhatAReaderNeedsStays(t *testing.T) {
	const said = `the server could not find the requested resource (get pods), node "compute-cell-001", since ` +
		`2026-11-30T12:34:56Z, resource.cci.io/size 0.25_0.5, https://cci.cn-north-4.myhuaweicloud.com/apis/cci/v2, ` +
		`spec.terminationGracePeriodSeconds of spec.containers[0].image, docker.io, CCI.01.403107, SDK-HMAC-SHA256, ` +
		`v1.2.3, ::1, localhost`
	got := written(t, NewRedactor("doctor-"), Exchange{Service: ServiceCCI, Path: "/apis/cci/v2/namespaces", Text: said})
	read, err := Read(strings.NewReader(got))
	require.NoError(t, err)
	assert.Equal(t, said, read[0].Text)
	assert.Equal(t, "/apis/cci/v2/namespaces", read[0].Path)

	iam := written(t, NewRedactor("doctor-"), Exchange{
		Service: ServiceIAM, Status: 401, Answer: json.RawMessage(`{"error_code":"IAM.0011","error_msg":"bob"}`),
	})
	assert.Contains(t, iam, `{"error_code":"IAM.0011","error_msg":"(left out)"}`)
}

func TestAShortOrOrdinaryNameChangesNoOtherWords(t *testing.T) {
	r := NewRedactor("doctor-")
	r.Hide("PROJECT-ID", "p1")
	r.Hide("ACCOUNT-NAME", "cci")
	r.Hide("USER", "contain")
	got := written(t, r, Exchange{
		Service: ServiceCCI, Path: "/v1/p1/feature-gates", Text: "/apis/cci/v2 has p11, containers",
	})
	assert.Contains(t, got, `"path":"/v1/PROJECT-ID/feature-gates"`)
	assert.Contains(t, got, "/apis/cci/v2 has p11, containers")
}

// A name may be part of a placeholder, or of the form of a transcript.
func TestANameLikeAPlaceholderDoesNotPreventATranscript(t *testing.T) {
	r := NewRedactor("doctor-")
	r.Hide("ACCOUNT-NAME-1", "account-name")
	r.Hide("ACCOUNT-NAME-2", "transcript")
	got := written(t, r, Exchange{Service: ServiceCCI, Text: "account-name and transcript"})
	assert.Contains(t, got, `"text":"ACCOUNT-NAME-1 and ACCOUNT-NAME-2"`)
}

// A replay is asked with placeholders, and may be recorded again.
func TestAPlaceholderIsNotHidden(t *testing.T) {
	r := NewRedactor("doctor-")
	r.Hide("PROJECT-ID", "PROJECT-ID")
	got := written(t, r, Exchange{Service: ServiceCCI, SignedHeaders: "x-project-id", Path: "/v1/PROJECT-ID"})
	assert.Contains(t, got, `"path":"/v1/PROJECT-ID"`)
}

func TestOfJSONThatIsCutOffNothingIsKept(t *testing.T) {
	for name, body := range map[string]string{
		"by the service":   `{"items":[{"metadata":{"name":"payroll"`,
		"by the recorder":  `{"items":[{"metadata":{"name":"payroll"}},"` + strings.Repeat("x", maxBody) + `"]}`,
		"by other objects": `{"items":[{"metadata":{"name":"payroll"}}]} {}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := exchange(t, answer(200, body, nil), "GET", "https://cci.test/x", "", nil)
			assert.Empty(t, got.Answer)
			assert.NotContains(t, got.Text, "payroll")
			assert.Contains(t, got.Text, "left out")
		})
	}
}

func TestARecorderIsBounded(t *testing.T) {
	body := strings.Repeat("x", maxBody)
	r := NewRecorder(answers(func(request *http.Request) (*http.Response, error) {
		return answer(200, body, nil).RoundTrip(request)
	}), "https://cci.test", "https://iam.test")
	send := func() {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://cci.test/x", nil)
		require.NoError(t, err)
		response, err := r.RoundTrip(request)
		require.NoError(t, err)
		_, err = bytes.NewBuffer(nil).ReadFrom(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	for range 2 * maxKept / maxBody {
		send()
	}
	size := 0
	for _, e := range r.Exchanges() {
		size += len(e.Text)
	}
	assert.LessOrEqual(t, size, maxKept+3*maxBody)
	assert.Equal(t, body, r.Last().Text, "the newest answer is there")
	body = "short"
	for range maxEntries {
		send()
	}
	assert.Len(t, r.Exchanges(), maxEntries)
	assert.Equal(t, body, r.Last().Text)
}

// line returns a line of a transcript with a changed field.
func line(changes ...string) string {
	fields := map[string]string{
		"step": `"key"`, "service": `"cci"`, "method": `"GET"`, "path": `"/apis"`, "auth": `"none"`, "status": "200",
	}
	for i := 0; i < len(changes); i += 2 {
		fields[changes[i]] = changes[i+1]
	}
	var parts []string
	for name, value := range fields {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(parts, ",") + "}\n"
}

const firstLine = `{"format":"` + Format + `"}` + "\n"

func TestAHostileTranscriptIsRefusedWithItsLine(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"an empty file": {"", "line 1: the file is empty: a transcript is what `vnode doctor --record FILE` writes"},
		"no requests":   {firstLine, "line 2: there are no requests"},
		"another file":  {"accessKey: x\n", `line 1: invalid character 'a'`},
		"binary":        {"\x1f\x8b\x08\x00\x00", "line 1: invalid character '\\x1f'"},
		"no first line": {line(), `line 1: json: unknown field`},
		"a later version": {
			`{"format":"spillway-doctor-transcript/2"}`,
			`the format is "spillway-doctor-transcript/2", and this program reads`,
		},
		"a line that is cut off": {firstLine + line() + `{"step":"key","ser`, "line 3: unexpected EOF"},
		"a field of a later version": {
			firstLine + line("trailer", `"x"`), `line 2: json: unknown field "trailer": each line must be`,
		},
		"two values on a line": {
			firstLine + "\n\n" + strings.TrimSpace(line()) + line(), "line 4: there is more after the JSON object",
		},
		"a field twice":           {firstLine + `{"path":"/a","Path":"/b"}`, `line 2: the field "path" occurs twice`},
		"a field twice in a body": {firstLine + line("answer", `{"a":{"b":1,"b":2}}`), `line 2: the field "b" occurs twice`},
		"nested deep": {
			firstLine + line("answer", strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)),
			"line 2: the JSON is nested deeper than 64 levels",
		},
		"a line that is long": {
			firstLine + line("text", `"`+strings.Repeat("x", maxEntry)+`"`), "line 2: a line has at most 4 MiB",
		},
		"a status that is none":    {firstLine + line("status", "9999"), "line 2: status: 9999 must be from 200 to 999"},
		"a negative status":        {firstLine + line("status", "-1"), "line 2: status: -1 must be"},
		"a status of no integer":   {firstLine + line("status", "1e999"), "line 2: json: cannot unmarshal number 1e999"},
		"a switch of the protocol": {firstLine + line("status", "101"), "line 2: status: 101 must be that of a command"},
		"a path that climbs": {
			firstLine + line("path", `"/apis/../../etc/passwd"`),
			`line 2: path: "/apis/../../etc/passwd" must be absolute`,
		},
		"a relative path":          {firstLine + line("path", `"etc"`), "line 2: path:"},
		"a path with a line break": {firstLine + line("path", `"/a\r\nb"`), "line 2: path:"},
		"a step that is a path":    {firstLine + line("step", `"../x"`), `line 2: step: "../x" must be the name of a check`},
		"another service":          {firstLine + line("service", `"obs"`), `line 2: service: "obs" must be cci, iam or vpc`},
		"another method":           {firstLine + line("method", `"CONNECT"`), `line 2: method: "CONNECT" must be GET`},
		"another header": {
			firstLine + line("header", `{"Content-Length":"-1"}`),
			`line 2: header: "Content-Length": "-1" must be one of Content-Type`,
		},
		"a header of two lines": {firstLine + line("header", `{"Date":"a\nb"}`), "line 2: header:"},
		"two bodies": {
			firstLine + line("text", `"x"`, "answer", "{}"), "line 2: answer, stream, text: only one",
		},
		"many parameters": {
			firstLine + line("query", `{"command":[`+strings.Repeat(`"",`, 1000)+`""]}`),
			`line 2: query: "command" has more than 64 values`,
		},
		"many events": {
			firstLine + strings.Repeat(line("stream", "["+strings.Repeat("0,", 60_000)+"0]"), 2),
			"line 3: a transcript has at most 100000 events",
		},
		"many lines": {
			firstLine + strings.Repeat(line(), maxEntries+1), "line 20002: a transcript has at most 20000 requests",
		},
		"a large file": {
			firstLine + strings.Repeat(line("text", `"`+strings.Repeat("x", 1<<20)+`"`), 65), "a transcript has at most 64 MiB",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(test.text))
			require.ErrorContains(t, err, test.want)
			assert.Empty(t, got)
			assert.Less(t, len(err.Error()), 600)
		})
	}
}

func TestAnErrorNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.jsonl")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err := ReadFile(file)
	require.ErrorContains(t, err, "reading the transcript "+file+": line 1: ")
	_, err = ReadFile(file + ".none")
	require.ErrorContains(t, err, "opening the transcript")
}

// FuzzRead searches for transcripts that cannot be read back once they are written, and for panics.
func FuzzRead(f *testing.F) {
	f.Add([]byte(firstLine + line()))
	f.Add([]byte(firstLine + line("answer", `{"items":[{"metadata":{"name":"x"}}]}`, "error", `"x"`)))
	f.Add([]byte(firstLine + line("stream", `[{"type":"ADDED"}]`, "query", `{"watch":["true"]}`)))
	f.Add([]byte(firstLine + line("path", `"/exec"`, "status", "101", "text", `"search a b"`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		exchanges, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		require.NoError(t, NewRedactor("doctor-").Write(&out, exchanges))
		_, err = Read(&out)
		require.NoError(t, err)
	})
}

// FuzzRedact searches for a place, and an encoding, in which a secret is left.
func FuzzRedact(f *testing.F) {
	const secret = "q8Zt+s3cr/t=k%20y"
	f.Add("a ", " b", uint8(0), false)
	f.Add(`{"a":"`, `"}`, uint8(1), true)
	f.Add(`<p title='`, `'>`, uint8(2), false)
	f.Add("token=", "&x", uint8(3), false)
	encodings := []func(string) string{
		func(s string) string { return s }, url.QueryEscape, html.EscapeString, url.PathEscape,
		func(s string) string { return strings.ReplaceAll(s, "/", `\/`) }, strings.ToUpper, strings.ToLower,
		func(s string) string { return hex.EncodeToString([]byte(s)) },
		func(s string) string { quoted, _ := json.Marshal(s); return strings.Trim(string(quoted), `"`) },
	}
	f.Fuzz(func(t *testing.T, before, after string, encoding uint8, isJSON bool) {
		form := encodings[int(encoding)%len(encodings)](secret)
		e := Exchange{Step: "key", Service: ServiceCCI, Method: "GET", Path: "/x", Auth: AuthNone, Status: 400}
		body := before + form + after
		if isJSON {
			e.setAnswer([]byte(body))
		} else {
			e.Text = body
		}
		r := NewRedactor("doctor-")
		r.Hide("KNOWN", secret)
		var out bytes.Buffer
		if r.Write(&out, []Exchange{e}) != nil {
			return // Nothing is written.
		}
		for _, form := range []string{secret, form} {
			quoted, err := json.Marshal(form)
			require.NoError(t, err)
			require.NotContains(t, strings.ToLower(out.String()), strings.ToLower(form))
			require.NotContains(t, out.String(), strings.Trim(string(quoted), `"`))
		}
		_, err := Read(bytes.NewReader(out.Bytes()))
		require.NoError(t, err)
	})
}
