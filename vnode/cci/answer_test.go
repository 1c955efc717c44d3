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

func TestDecodeFault(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cases := map[string]struct {
		status int
		header http.Header
		body   string
		want   Error
	}{
		"a Status with the service's code": {
			409, nil, `{"kind":"Status","status":"Failure","message":"pods \"x\" already exists","reason":"AlreadyExists","code":409,"errorCode":"CCI.02.409101"}`,
			Error{Kind: AlreadyExists, Status: 409, Code: "CCI.02.409101", Message: `pods "x" already exists`},
		},
		"a Status whose reason is Conflict": {
			409, nil, `{"kind":"Status","message":"changed","reason":"Conflict","code":409,"errorCode":"CCI.02.409101"}`,
			Error{Kind: Conflict, Status: 409, Code: "CCI.02.409101", Message: "changed"},
		},
		"the gateway's throttling": {
			429, http.Header{"Retry-After": {"7"}, "X-Request-Id": {"r-1"}}, `{"error_code":"APIG.0308","error_msg":"The throttling threshold has been reached","request_id":"r-1"}`,
			Error{Kind: Throttled, Status: 429, Code: "APIG.0308", Message: "The throttling threshold has been reached", RequestID: "r-1", After: 7 * time.Second},
		},
		"throttling until a date": {
			429, http.Header{"Retry-After": {"Fri, 02 Jan 2026 03:04:15 GMT"}}, ``,
			Error{Kind: Throttled, Status: 429, Message: "Too Many Requests", After: 10 * time.Second},
		},
		"throttling for a day is not believed": {
			429, http.Header{"Retry-After": {"86400"}}, ``, Error{Kind: Throttled, Status: 429, Message: "Too Many Requests", After: time.Minute},
		},
		"the gateway refuses the caller": {
			403, nil, `{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information"}`,
			Error{Kind: Denied, Status: 403, Code: "APIGW.0301", Message: "Incorrect IAM authentication information"},
		},
		"a page of a firewall": {
			502, nil, "<html>\n<body>CloudWAF</body></html>", Error{Kind: Transient, Status: 502, Message: "CloudWAF"},
		},
		"a page with a style and a script": {
			403, nil, "<!DOCTYPE html><html><head><style>p{}</style><script>let a = 1 < 2</script></head>\n<p>Blocked by &lt;WAF&gt;</p></html>",
			Error{Kind: Denied, Status: 403, Message: "Blocked by <WAF>"},
		},
		"a page with nothing to read": {502, nil, "<html></html>", Error{Kind: Transient, Status: 502, Message: "Bad Gateway"}},
		"nothing at all":              {500, nil, "", Error{Kind: Transient, Status: 500, Message: "Internal Server Error"}},
		"a list where none may be":    {400, nil, "[]", Error{Kind: Permanent, Status: 400, Message: "[]"}},
		"the service is not authorised": {
			404, nil, `{"message":"no","errorCode":"CCI.01.404101"}`, Error{Kind: Denied, Status: 404, Code: "CCI.01.404101", Message: "no"},
		},
		"an object that is not there":             {404, nil, `{"message":"pods \"x\" not found","reason":"NotFound"}`, Error{Kind: NotFound, Status: 404, Message: `pods "x" not found`}},
		"a page that is not there proves nothing": {404, nil, "<html>not found</html>", Error{Kind: Transient, Status: 404, Message: "not found"}},
		"a code beyond the permissions": {
			403, nil, `{"message":"refused","errorCode":"CCI.01.403115"}`, Error{Kind: Permanent, Status: 403, Code: "CCI.01.403115", Message: "refused"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, *decodeFault(tc.status, tc.header, []byte(tc.body), now))
		})
	}
}

// What an operator must do is said wherever the error is shown.
func TestErrorsSayWhatToDo(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   string
	}{
		"not authorised":             {403, `{"message":"user has no agency to cci","errorCode":"CCI.01.403122"}`, "open the CCI console"},
		"not authorised, as 401":     {401, `{"message":"no","errorCode":"CCI.01.401102"}`, "open the CCI console"},
		"not authorised, as 404":     {404, `{"message":"no","errorCode":"CCI.01.404101"}`, "open the CCI console"},
		"arrears":                    {403, `{"message":"no","errorCode":"CCI.01.403009"}`, "owes money"},
		"a frozen account":           {403, `{"message":"no","errorCode":"CCI.01.403010"}`, "frozen"},
		"the first permission":       {403, `{"message":"no","errorCode":"CCI.01.403103"}`, "cci:namespace:*"},
		"the last permission":        {403, `{"message":"no","errorCode":"CCI.01.403114"}`, "cci:namespace:*"},
		"the quota of namespaces":    {400, `{"message":"no","errorCode":"CCI.02.400106"}`, "larger quota"},
		"no cluster for a namespace": {400, `{"message":"NoAllocatedCluster","errorCode":"CCI.02.400116"}`, "another region"},
		"a wrong key":                {401, `{"error_code":"APIG.0301","error_msg":"verify aksk signature fail"}`, "the clock"},
		"what nobody knows":          {403, `{"message":"no","errorCode":"CCI.01.403999"}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			text := decodeFault(tc.status, nil, []byte(tc.body), time.Now()).Error()
			if tc.want == "" {
				assert.NotContains(t, text, "(")
				return
			}
			assert.Contains(t, text, tc.want)
		})
	}
}

func TestLongWordsAreCut(t *testing.T) {
	text := decodeFault(500, nil, []byte(strings.Repeat("ä", 1000)), time.Now()).Message
	assert.LessOrEqual(t, len(text), mostWords+len("…"))
	assert.True(t, strings.HasSuffix(text, "ä…"), "no character is cut in two")
}

func FuzzDecodeFault(f *testing.F) {
	f.Add(403, `{"message":"x","errorCode":"CCI.01.403103"}`)
	f.Add(429, "<html>")
	f.Add(200, `{"code":"text"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		fault := decodeFault(status, nil, []byte(body), time.Now())
		assert.NotEmpty(t, fault.Kind)
		assert.NotEmpty(t, fault.Error())
	})
}

func TestReadCredentials(t *testing.T) {
	cases := map[string]struct {
		file    string
		want    Credentials
		wantErr string
	}{
		"permanent keys":              {"accessKey: a\nsecretKey: s\n", Credentials{AccessKey: "a", SecretKey: "s"}, ""},
		"temporary keys":              {"accessKey: a\nsecretKey: s\nsecurityToken: t\n", Credentials{AccessKey: "a", SecretKey: "s", SecurityToken: "t"}, ""},
		"a missing key is named":      {"accessKey: a\n", Credentials{}, "secretKey"},
		"an unknown field is a fault": {"accessKey: a\nsecretKey: hidden\nsecret: hidden\n", Credentials{}, "accessKey, secretKey, securityToken and authToken alone"},
		"an empty file":               {"", Credentials{}, "accessKey"},
		"no YAML":                     {"hidden: [", Credentials{}, "is no YAML"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "credentials.yaml")
			require.NoError(t, os.WriteFile(file, []byte(tc.file), 0o600))
			got, err := ReadCredentials(file)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.NotContains(t, err.Error(), "hidden", "an error shows nothing of the file")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
	_, err := ReadCredentials(filepath.Join(t.TempDir(), "nowhere"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
