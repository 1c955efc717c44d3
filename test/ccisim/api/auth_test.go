package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
	testclock "k8s.io/utils/clock/testing"
)

// signedRequest returns a request that the signer of the SDK has signed, and its date.
func signedRequest(t *testing.T, credential Credential, body string) (*http.Request, time.Time) {
	t.Helper()
	builder := request.NewHttpRequestBuilder().WithMethod("POST").WithEndpoint("http://cci.test").
		WithPath("/apis/cci/v2/namespaces").WithBody("", body)
	builder.AddHeaderParam(headerProjectID, credential.ProjectID)
	built := builder.Build()
	signature, err := signer.Sign(built, credential.AccessKey, credential.SecretKey)
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "http://cci.test/apis/cci/v2/namespaces", nil)
	r.Header.Set(headerProjectID, credential.ProjectID)
	for name, value := range signature {
		r.Header.Set(name, value)
	}
	date, err := time.Parse(signer.BasicDateFormat, r.Header.Get(signer.HeaderXDate))
	require.NoError(t, err)
	return r, date
}

func TestSignatures(t *testing.T) {
	cases := map[string]struct {
		change func(r *http.Request)
		body   string
		skew   time.Duration
		want   string
	}{
		"a valid signature": {func(*http.Request) {}, "{}", 0, ""},
		"14 minutes late":   {func(*http.Request) {}, "{}", 14 * time.Minute, ""},
		"16 minutes late":   {func(*http.Request) {}, "{}", 16 * time.Minute, "signature expired"},
		"16 minutes early":  {func(*http.Request) {}, "{}", -16 * time.Minute, "signature expired"},
		"another body":      {func(*http.Request) {}, "[]", 0, "verify aksk signature fail"},
		"another path":      {func(r *http.Request) { r.URL.Path += "x" }, "{}", 0, "verify aksk signature fail"},
		"another project":   {func(r *http.Request) { r.Header.Set(headerProjectID, "x") }, "{}", 0, "X-Project-Id"},
		"a security token":  {func(r *http.Request) { r.Header.Set(headerSecurityToken, "x") }, "{}", 0, headerSecurityToken},
		"a hash of another body": {
			func(r *http.Request) { r.Header.Set(headerContentHash, "x") }, "{}", 0, headerContentHash,
		},
		"a date in another format": {
			func(r *http.Request) { r.Header.Set(signer.HeaderXDate, "now") }, "{}", 0, "X-Sdk-Date",
		},
		"no signature": {func(r *http.Request) { r.Header.Del("Authorization") }, "{}", 0, "has no token and no SDK-HMAC"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, date := signedRequest(t, account, "{}")
			tc.change(r)
			auth := NewAuth([]Credential{account}, testclock.NewFakePassiveClock(date.Add(tc.skew)), time.Hour)
			credential, reason := auth.authenticate(r, []byte(tc.body))
			if tc.want == "" {
				require.NotNil(t, credential, reason)
				assert.Equal(t, account.AccessKey, credential.AccessKey)
				return
			}
			assert.Nil(t, credential)
			assert.Contains(t, reason, tc.want)
			assert.NotContains(t, reason, account.SecretKey)
		})
	}
}

func TestCredentialWithoutProject(t *testing.T) {
	anyProject := Credential{AccessKey: "a", SecretKey: "s"}
	named := anyProject
	named.ProjectID = "named"
	r, date := signedRequest(t, named, "{}")
	auth := NewAuth([]Credential{anyProject}, testclock.NewFakePassiveClock(date), time.Hour)
	credential, reason := auth.authenticate(r, []byte("{}"))
	require.NotNil(t, credential, reason)
	assert.Equal(t, "named", credential.ProjectID)
}

func TestSetCredentials(t *testing.T) {
	r, date := signedRequest(t, account, "{}")
	auth := NewAuth([]Credential{account}, testclock.NewFakePassiveClock(date), time.Hour)
	assert.ErrorContains(t, auth.SetCredentials(nil), "at least one is required")
	credential, _ := auth.authenticate(r, []byte("{}"))
	assert.NotNil(t, credential, "invalid credentials change nothing")
	require.NoError(t, auth.SetCredentials([]Credential{{AccessKey: "other", SecretKey: "s"}}))
	credential, reason := auth.authenticate(r, []byte("{}"))
	assert.Nil(t, credential)
	assert.Contains(t, reason, "the AK does not exist")
}

func tokenBody(access, secret, project string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["hw_ak_sk"],`+
		`"hw_ak_sk":{"access":{"key":%q},"secret":{"key":%q}}},"scope":{"project":{"name":%q}}}}`, access, secret, project)
}

func TestTokens(t *testing.T) {
	clock := testclock.NewFakePassiveClock(start)
	requests := NewRequests()
	issue := func(auth *Auth, method, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, TokensPath, strings.NewReader(body))
		r.Header.Set(headerAuthToken, token)
		auth.TokenHandler(requests).ServeHTTP(w, r)
		return w
	}
	accepted := func(auth *Auth, value string) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(headerAuthToken, value)
		credential, _ := auth.authenticate(r, nil)
		return credential != nil
	}
	auth := NewAuth([]Credential{account}, clock, time.Hour)
	good := tokenBody(account.AccessKey, account.SecretKey, "p")
	for name, tc := range map[string]struct{ method, body, message string }{
		"a GET":             {"GET", good, "not a POST of JSON"},
		"not JSON":          {"POST", "x", "not a POST of JSON"},
		"a wrong key":       {"POST", tokenBody(account.AccessKey, "x", "p"), "secret key is wrong"},
		"without a project": {"POST", tokenBody(account.AccessKey, account.SecretKey, ""), "names no project"},
	} {
		t.Run(name, func(t *testing.T) {
			w := issue(auth, tc.method, tc.body)
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			assert.Contains(t, w.Body.String(), tc.message)
			assert.Empty(t, w.Header().Get("X-Subject-Token"))
		})
	}
	w := issue(auth, "POST", good)
	require.Equal(t, http.StatusCreated, w.Code)
	assert.Contains(t, w.Body.String(), `"expires_at":"2026-01-02T04:04:05.000000Z"`)
	issued := w.Header().Get("X-Subject-Token")
	clock.SetTime(start.Add(time.Hour - 1))
	assert.True(t, accepted(auth, issued))
	clock.SetTime(start.Add(time.Hour))
	assert.False(t, accepted(auth, issued), "the token has expired")

	revoked := issue(auth, "POST", good).Header().Get("X-Subject-Token")
	assert.True(t, accepted(auth, revoked))
	auth.RevokeTokens()
	assert.False(t, accepted(auth, revoked))
	assert.Equal(t, 4, requests.Total("create", "tokens", http.StatusUnauthorized))
}

func TestCredentialErrors(t *testing.T) {
	list := []Credential{{AccessKey: "a"}, {AccessKey: "a", SecretKey: "hidden"}, {SecretKey: "hidden"}}
	err := ValidateCredentials(list, field.NewPath("credentials")).ToAggregate()
	for _, message := range []string{
		"credentials[0].secretKey: Required", `credentials[1].accessKey: Duplicate value: "a"`,
		"credentials[2].accessKey: Required",
	} {
		assert.ErrorContains(t, err, message)
	}
	assert.NotContains(t, err.Error(), "hidden")
}

func TestLoadCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("accessKey: a\nsecretKey: s\n")
	list, err := LoadCredentials(file)
	require.NoError(t, err)
	assert.Equal(t, []Credential{{AccessKey: "a", SecretKey: "s"}}, list)
	write("- accessKey: a\n- accessKey: b\n")
	list, err = LoadCredentials(file)
	require.NoError(t, err)
	assert.Len(t, list, 2)
	write("acesskey: hidden\n")
	_, err = LoadCredentials(file)
	assert.ErrorContains(t, err, "no other keys than accessKey, secretKey")
	assert.NotContains(t, err.Error(), "hidden")
}
