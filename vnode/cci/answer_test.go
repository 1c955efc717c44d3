package cci

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeError(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cases := map[string]struct {
		status int
		header http.Header
		body   string
		want   Error
	}{
		"a Status with an error code of the service": {
			409, nil, `{"kind":"Status","status":"Failure","message":"pods \"x\" already exists","reason":"AlreadyExists",` +
				`"code":409,"errorCode":"CCI.02.409101"}`,
			Error{Kind: AlreadyExists, Status: 409, Code: "CCI.02.409101", Message: `pods "x" already exists`},
		},
		"a Status whose reason is Conflict": {
			409, nil, `{"kind":"Status","message":"changed","reason":"Conflict","code":409,"errorCode":"CCI.02.409101"}`,
			Error{Kind: Conflict, Status: 409, Code: "CCI.02.409101", Message: "changed"},
		},
		"throttling by the gateway": {
			429, http.Header{"Retry-After": {"7"}, "X-Request-Id": {"r-1"}},
			`{"error_code":"APIG.0308","error_msg":"The throttling threshold has been reached","request_id":"r-1"}`,
			Error{
				Kind: Throttled, Status: 429, Code: "APIG.0308", Message: "The throttling threshold has been reached",
				RequestID: "r-1", After: 7 * time.Second,
			},
		},
		"throttling until a date": {
			429, http.Header{"Retry-After": {"Fri, 02 Jan 2026 03:04:15 GMT"}}, ``,
			Error{Kind: Throttled, Status: 429, Message: "Too Many Requests", After: 10 * time.Second},
		},
		"throttling for a day is limited to a minute": {
			429, http.Header{"Retry-After": {"86400"}}, ``,
			Error{Kind: Throttled, Status: 429, Message: "Too Many Requests", After: time.Minute},
		},
		"the gateway refuses the caller": {
			403, nil, `{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information"}`,
			Error{Kind: Denied, Status: 403, Code: "APIGW.0301", Message: "Incorrect IAM authentication information"},
		},
		"an HTML page of a firewall": {
			502, nil, "<html>\n<body>CloudWAF</body></html>", Error{Kind: Transient, Status: 502, Message: "CloudWAF"},
		},
		"an HTML page with a style and a script": {
			403, nil, "<!DOCTYPE html><html><head><style>p{}</style><script>let a = 1 < 2</script></head>\n" +
				"<p>Blocked by &lt;WAF&gt;</p></html>",
			Error{Kind: Denied, Status: 403, Message: "Blocked by <WAF>"},
		},
		"an HTML page without text": {
			502, nil, "<html></html>", Error{Kind: Transient, Status: 502, Message: "Bad Gateway"},
		},
		"an empty body":              {500, nil, "", Error{Kind: Transient, Status: 500, Message: "Internal Server Error"}},
		"a list instead of a Status": {400, nil, "[]", Error{Kind: Permanent, Status: 400, Message: "[]"}},
		"the service is not authorized": {
			404, nil, `{"message":"no","errorCode":"CCI.01.404101"}`,
			Error{Kind: Denied, Status: 404, Code: "CCI.01.404101", Message: "no"},
		},
		"an object that does not exist": {
			404, nil, `{"message":"pods \"x\" not found","reason":"NotFound"}`,
			Error{Kind: NotFound, Status: 404, Message: `pods "x" not found`},
		},
		"404 without a reason is no proof that the object is gone": {
			404, nil, "<html>not found</html>",
			Error{Kind: Transient, Status: 404, Message: "not found", unexplained: true},
		},
		"404 as a Status without a reason is no proof either": {
			404, nil, `{"kind":"Status","status":"Failure","message":"pods \"x\" not found","code":404}`,
			Error{Kind: Transient, Status: 404, Message: `pods "x" not found`, unexplained: true},
		},
		"an API that the gateway does not know": {
			404, nil, `{"error_code":"APIG.0101","error_msg":"The API does not exist or has not been published"}`,
			Error{
				Kind: NotOffered, Status: 404, Code: "APIG.0101",
				Message: "The API does not exist or has not been published",
			},
		},
		"a resource that the API server does not know says nothing about an object": {
			404, nil, `{"kind":"Status","message":"the server could not find the requested resource","reason":"NotFound"}`,
			Error{Kind: NotOffered, Status: 404, Message: "the server could not find the requested resource"},
		},
		"a malformed request is not the fault of the account": {
			400, nil, `{"error_code":"APIG.0201","error_msg":"Bad request"}`,
			Error{Kind: Permanent, Status: 400, Code: "APIG.0201", Message: "Bad request"},
		},
		"no quota for the agency": {
			400, nil, `{"message":"no agency quota found from iam","errorCode":"CCI.01.400104"}`,
			Error{Kind: Denied, Status: 400, Code: "CCI.01.400104", Message: "no agency quota found from iam"},
		},
		"an account that is not on the list": {
			400, nil, `{"message":"no","errorCode":"CCI.02.400102"}`,
			Error{Kind: Denied, Status: 400, Code: "CCI.02.400102", Message: "no"},
		},
		"a redirect of a proxy says nothing about the request": {
			302, nil, `<a href="https://login.example.com">Found</a>`, Error{Kind: Transient, Status: 302, Message: "Found"},
		},
		"the code after the last permission code": {
			403, nil, `{"message":"refused","errorCode":"CCI.01.403115"}`,
			Error{Kind: Permanent, Status: 403, Code: "CCI.01.403115", Message: "refused"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, *decodeError(http.MethodGet, tc.status, tc.header, []byte(tc.body), now))
		})
	}
}

// A 403 without a reason can mean the object or the key. The service reads the object of a write before it refuses it.
func TestA403WithoutAReasonIsJudgedByTheRequest(t *testing.T) {
	const status = `{"kind":"Status","status":"Failure","message":"subnetID x is not allowed to be duplicated","code":403}`
	for name, test := range map[string]struct {
		method, body string
		want         Kind
	}{
		"a new object is refused":               {http.MethodPost, status, Permanent},
		"a changed object is refused":           {http.MethodPut, status, Permanent},
		"a patch is refused":                    {http.MethodPatch, status, Permanent},
		"a read is refused to the key":          {http.MethodGet, status, Denied},
		"a deletion is refused to the key":      {http.MethodDelete, status, Denied},
		"a firewall refuses a new object":       {http.MethodPost, "<html>Blocked</html>", Denied},
		"a proxy refuses a new object":          {http.MethodPost, `{"message":"no"}`, Denied},
		"the gateway refuses a new object":      {http.MethodPost, `{"error_code":"APIG.0302","error_msg":"no"}`, Denied},
		"a permission is missing for an object": {http.MethodPost, `{"kind":"Status","errorCode":"CCI.01.403110"}`, Denied},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, decodeError(test.method, 403, nil, []byte(test.body), time.Now()).Kind)
		})
	}
}

// How CCI 2.0 refuses a Pod beyond a quota is documented nowhere. CCI 1.0 is an API server of Kubernetes.
func TestARefusalForAQuotaIsRecognizedByItsText(t *testing.T) {
	const exceeded = `pods \"web\" is forbidden: exceeded quota: compute-resources, requested: pods=1, used: pods=50, ` +
		`limited: pods=50`
	for name, test := range map[string]struct {
		method string
		status int
		body   string
		want   Kind
	}{
		"Kubernetes": {http.MethodPost, 403,
			`{"kind":"Status","reason":"Forbidden","message":"` + exceeded + `"}`, QuotaExceeded},
		"without a reason": {http.MethodPost, 403, `{"kind":"Status","message":"` + exceeded + `"}`, QuotaExceeded},
		"with an unknown code": {http.MethodPost, 403,
			`{"kind":"Status","message":"The CPU quota of the account is used up","errorCode":"CCI.02.403199"}`, QuotaExceeded},
		"as a bad request": {http.MethodPost, 400,
			`{"status":"Failure","message":"Insufficient quota of pods","code":400}`, QuotaExceeded},
		"the code for namespaces, whatever the text": {http.MethodPost, 400,
			`{"kind":"Status","message":"no","errorCode":"CCI.02.400106"}`, QuotaExceeded},
		"another refusal": {http.MethodPost, 403,
			`{"kind":"Status","reason":"Forbidden","message":"no such size"}`, Permanent},
		"a refusal about a Pod whose name speaks of a quota": {http.MethodPost, 403,
			`{"kind":"Status","reason":"Forbidden","message":"pods \"exceeded quota\" is forbidden: no such size"}`, Permanent},
		"the quota of agencies is a matter of the account": {http.MethodPost, 400,
			`{"kind":"Status","message":"no agency quota found, quota exceeded","errorCode":"CCI.01.400104"}`, Denied},
		"the gateway": {http.MethodPost, 403, `{"error_code":"APIG.0308","error_msg":"quota exceeded"}`, Denied},
		"a firewall":  {http.MethodPost, 403, `<html>quota exceeded</html>`, Denied},
		"a read":      {http.MethodGet, 403, `{"kind":"Status","reason":"Forbidden","message":"quota exceeded"}`, Permanent},
		"a quota that others count at the same time": {http.MethodPost, 409,
			`{"kind":"Status","reason":"Conflict","message":"Operation cannot be fulfilled on resourcequotas","details":` +
				`{"name":"compute-resources","kind":"resourcequotas"}}`, Transient},
	} {
		t.Run(name, func(t *testing.T) {
			err := decodeError(test.method, test.status, nil, []byte(test.body), time.Now())
			assert.Equal(t, test.want, err.Kind)
			if test.want == QuotaExceeded {
				assert.Contains(t, err.Error(), "larger quota")
			}
		})
	}
}

// The hint is part of the error message, so that it is shown wherever the error is shown.
func TestErrorsContainAHint(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   string
	}{
		"not authorized": {
			403, `{"message":"user has no agency to cci","errorCode":"CCI.01.403122"}`, "open the CCI console",
		},
		"not authorized, as 401":     {401, `{"message":"no","errorCode":"CCI.01.401102"}`, "open the CCI console"},
		"not authorized, as 404":     {404, `{"message":"no","errorCode":"CCI.01.404101"}`, "open the CCI console"},
		"arrears":                    {403, `{"message":"no","errorCode":"CCI.01.403009"}`, "in arrears"},
		"a frozen account":           {403, `{"message":"no","errorCode":"CCI.01.403010"}`, "frozen"},
		"the first permission":       {403, `{"message":"no","errorCode":"CCI.01.403103"}`, "cci:namespace:*"},
		"the last permission":        {403, `{"message":"no","errorCode":"CCI.01.403114"}`, "cci:namespace:*"},
		"the quota of namespaces":    {400, `{"message":"no","errorCode":"CCI.02.400106"}`, "larger quota"},
		"no cluster for a namespace": {400, `{"message":"NoAllocatedCluster","errorCode":"CCI.02.400116"}`, "another region"},
		"no quota for the agency":    {400, `{"message":"no","errorCode":"CCI.01.400104"}`, "unused agencies"},
		"an account that is not on the list": {
			400, `{"message":"no","errorCode":"CCI.02.400102"}`, "not on the list",
		},
		"a permission, with identity policies": {
			403, `{"message":"no","errorCode":"CCI.01.403103"}`, "the new IAM console",
		},
		"a wrong key": {
			401, `{"error_code":"APIG.0301","error_msg":"verify aksk signature fail"}`, "the clock",
		},
		"an unknown code": {403, `{"message":"no","errorCode":"CCI.01.403999"}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			text := decodeError(http.MethodGet, tc.status, nil, []byte(tc.body), time.Now()).Error()
			if tc.want == "" {
				assert.NotContains(t, text, "(")
				return
			}
			assert.Contains(t, text, tc.want)
		})
	}
}

func TestLongTextIsTruncated(t *testing.T) {
	text := decodeError(http.MethodGet, 500, nil, []byte(strings.Repeat("ä", 1000)), time.Now()).Message
	assert.LessOrEqual(t, len(text), maxTextLength+len("…"))
	assert.True(t, strings.HasSuffix(text, "ä…"), "no character is cut")
}

func FuzzDecodeError(f *testing.F) {
	f.Add("GET", 403, `{"message":"x","errorCode":"CCI.01.403103"}`)
	f.Add("POST", 429, "<html>")
	f.Add("GET", 200, `{"code":"text"}`)
	f.Add("PUT", 403, `{"kind":"Status","message":"x"}`)
	f.Fuzz(func(t *testing.T, method string, status int, body string) {
		decoded := decodeError(method, status, nil, []byte(body), time.Now())
		assert.NotEmpty(t, decoded.Kind)
		assert.NotEmpty(t, decoded.Error())
	})
}

func TestReadCredentials(t *testing.T) {
	cases := map[string]struct {
		file    string
		want    Credentials
		wantErr string
	}{
		"permanent keys": {"accessKey: a\nsecretKey: s\n", Credentials{AccessKey: "a", SecretKey: "s"}, ""},
		"temporary keys": {
			"accessKey: a\nsecretKey: s\nsecurityToken: t\n",
			Credentials{AccessKey: "a", SecretKey: "s", SecurityToken: "t"}, "",
		},
		"a missing key is named": {"accessKey: a\n", Credentials{}, "secretKey"},
		"an unknown field is an error": {
			"accessKey: a\nsecretKey: hidden\nsecret: hidden\n", Credentials{},
			"no other fields than accessKey, secretKey, securityToken and authToken",
		},
		"an empty file":          {"", Credentials{}, "accessKey"},
		"a file that is no YAML": {"hidden: [", Credentials{}, "must be YAML"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "credentials.yaml")
			require.NoError(t, os.WriteFile(file, []byte(tc.file), 0o600))
			got, err := ReadCredentials(file)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.NotContains(t, err.Error(), "hidden", "an error contains no text of the file")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
	_, err := ReadCredentials(filepath.Join(t.TempDir(), "nowhere"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
