package ccisim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/def"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestAuthentication(t *testing.T) {
	const list = "/apis/cci/v2/namespaces"
	body := func() []byte { return encoded(t, namespaceBody("signed")) }
	send := func(change func(r *http.Request)) func(t *testing.T, b *env) answer {
		return func(t *testing.T, b *env) answer {
			r := b.signed(context.Background(), "POST", list, body(), nil)
			change(r)
			return b.send(r)
		}
	}
	as := func(change func(c *ccisim.Credential)) func(t *testing.T, b *env) answer {
		return func(t *testing.T, b *env) answer {
			other := *b.client
			change(&other.credential)
			return other.do("GET", list, nil)
		}
	}
	cases := map[string]struct {
		send func(t *testing.T, b *env) answer
		want int
	}{
		"a request signed by the SDK is accepted": {send(func(*http.Request) {}), http.StatusCreated},
		"a body changed after signing is refused": {send(func(r *http.Request) {
			changed := bytes.Replace(body(), []byte("signed"), []byte("forged"), 1)
			r.Body = io.NopCloser(bytes.NewReader(changed))
		}), http.StatusUnauthorized},
		"a path changed after signing is refused": {
			send(func(r *http.Request) { r.URL.Path += "x" }), http.StatusUnauthorized,
		},
		"a query added after signing is refused": {
			send(func(r *http.Request) { r.URL.RawQuery = "dryRun=All" }), http.StatusUnauthorized,
		},
		"a signed header that changed is refused": {
			send(func(r *http.Request) { r.Header.Set("X-Project-Id", "project-2") }), http.StatusUnauthorized,
		},
		"a signed header that is missing is refused": {
			send(func(r *http.Request) { r.Header.Del("X-Project-Id") }), http.StatusUnauthorized,
		},
		"no credentials at all are refused": {
			send(func(r *http.Request) { r.Header.Del("Authorization") }), http.StatusUnauthorized,
		},
		"another scheme is refused": {
			send(func(r *http.Request) { r.Header.Set("Authorization", "Bearer abc") }), http.StatusUnauthorized,
		},
		"an unsigned date is refused": {
			send(func(r *http.Request) { r.Header.Set("X-Sdk-Date", "yesterday") }), http.StatusUnauthorized,
		},
		"a hash of another body is refused": {
			send(func(r *http.Request) {
				r.Header.Set("X-Sdk-Content-Sha256",
					strings.Repeat("0", 64))
			}), http.StatusUnauthorized,
		},
		"an unknown access key is refused": {
			as(func(c *ccisim.Credential) { c.AccessKey = "AKOTHER" }), http.StatusUnauthorized,
		},
		"a wrong secret key is refused": {
			as(func(c *ccisim.Credential) { c.SecretKey = "guessed" }), http.StatusUnauthorized,
		},
		"a project of another tenant is refused": {
			as(func(c *ccisim.Credential) { c.ProjectID = "project-2" }), http.StatusUnauthorized,
		},
		"an unknown security token is refused": {
			as(func(c *ccisim.Credential) { c.SecurityToken = "sts" }), http.StatusUnauthorized,
		},
		"an IAM token without a signature is accepted": {send(func(r *http.Request) {
			r.Header = http.Header{"X-Auth-Token": {"token-1"}, "Content-Type": {"application/json"}}
		}), http.StatusCreated},
		"a wrong IAM token with a valid signature is refused": {
			send(func(r *http.Request) { r.Header.Set("X-Auth-Token", "token-2") }), http.StatusUnauthorized,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newEnv(t)
			a := tc.send(t, b)
			require.NoError(t, a.err)
			require.Equal(t, tc.want, a.status, "body: %s", a.body)
			if tc.want != http.StatusUnauthorized {
				return
			}
			var gateway map[string]string
			require.NoError(t, json.Unmarshal(a.body, &gateway), "the error is in the form of the gateway: %s", a.body)
			assert.Equal(t, "APIG.0301", gateway["error_code"])
			assert.NotEmpty(t, gateway["error_msg"])
			assert.Equal(t, a.header.Get("X-Request-Id"), gateway["request_id"])
			assert.NotContains(t, string(a.body), account.SecretKey)
		})
	}
}

func TestSignaturesOfAllKindsOfRequests(t *testing.T) {
	cases := map[string]struct {
		method, target, contentType string
		body                        any
	}{
		"odd characters in a query": {
			"GET", podsPath + "?labelSelector=" + "a%20in%20(b%2Cc)%2Cd!%3De%2Bf&limit=5", "", nil,
		},
		"a repeated query parameter":    {"GET", podsPath + "?command=ls&command=-l%20%2F", "", nil},
		"an empty query value":          {"GET", podsPath + "?watch=&limit=1", "", nil},
		"characters that are not ASCII": {"GET", podsPath + "/p%C3%B6d", "", nil},
		"a JSON patch, hashed": {
			"PATCH", podsPath +
				"/web", "application/json-patch+json", `[{"op":"add","path":"/metadata/labels/x","value":"~ü%"}]`,
		},
		"a merge patch, unhashed": {
			"PATCH", podsPath + "/web", "application/merge-patch+json", `{"metadata":{"labels":{"y":"1"}}}`,
		},
		"a strategic patch": {
			"PATCH", podsPath + "/web", "application/strategic-merge-patch+json", `{"metadata":{"labels":{"z":"1"}}}`,
		},
	}
	b := newNamespaceEnv(t)
	b.createPod("web")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.doAs(tc.method, tc.target, tc.contentType, tc.body)
			require.NoError(t, a.err)
			assert.NotEqual(t, http.StatusUnauthorized, a.status, "body: %s", a.body)
		})
	}
}

func TestClientOfSDK(t *testing.T) {
	b := newNamespaceEnv(t)
	credentials, err := basic.NewCredentialsBuilder().WithAk(account.AccessKey).WithSk(account.SecretKey).
		WithProjectId(account.ProjectID).SafeBuild()
	require.NoError(t, err)
	client, err := core.NewHcHttpClientBuilder().WithEndpoints([]string{b.base}).WithCredential(credentials).SafeBuild()
	require.NoError(t, err)
	type raw struct {
		HttpStatusCode int
		Body           io.ReadCloser
	}
	type create struct {
		Namespace string `json:"namespace"`
		Body      object `json:"body"`
	}
	definition := def.NewHttpRequestDefBuilder().WithMethod("POST").WithPath("/apis/cci/v2/namespaces/{namespace}/pods").
		WithContentType("application/json").WithResponse(new(raw)).
		WithRequestField(def.NewFieldDef().WithName("Namespace").WithJsonTag("namespace").WithLocationType(def.Path)).
		WithRequestField(def.NewFieldDef().WithName("Body").WithLocationType(def.Body)).Build()
	out, err := client.Sync(&create{Namespace: "ns", Body: podBody("by-sdk", withAnnotations("note", "<ü & \u2028>"))},
		definition)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, out.(*raw).HttpStatusCode)
	assert.Equal(t, "<ü & \u2028>", b.pod("by-sdk").Annotations["note"])
}

func TestClockSkew(t *testing.T) {
	cases := map[string]struct {
		skew time.Duration
		want int
	}{
		"14 minutes behind is accepted": {14 * time.Minute, http.StatusOK},
		"14 minutes ahead is accepted":  {-14 * time.Minute, http.StatusOK},
		"16 minutes behind is refused":  {16 * time.Minute, http.StatusUnauthorized},
		"16 minutes ahead is refused":   {-16 * time.Minute, http.StatusUnauthorized},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newEnv(t, func(c *ccisim.Config) { c.Clock = testclock.NewFakeClock(time.Now().Add(tc.skew)) })
			assert.Equal(t, tc.want, b.do("GET", "/apis/cci/v2/namespaces", nil).status)
		})
	}
}

func TestTemporaryCredentials(t *testing.T) {
	temporary := account
	temporary.SecurityToken = "sts-token"
	b := newEnv(t, func(c *ccisim.Config) { c.Credentials = []ccisim.Credential{temporary} })
	assert.Equal(t, http.StatusOK, b.do("GET", "/apis/cci/v2/namespaces", nil).status, "with the token")
	b.credential.SecurityToken = "another"
	assert.Equal(t, http.StatusUnauthorized, b.do("GET", "/apis/cci/v2/namespaces", nil).status, "with another token")
	b.credential.SecurityToken = ""
	assert.Equal(t, http.StatusUnauthorized, b.do("GET", "/apis/cci/v2/namespaces", nil).status, "without a token")
}

func TestTooLargeBodyIsRefused(t *testing.T) {
	b := newEnv(t)
	a := b.do("POST", "/apis/cci/v2/namespaces", strings.Repeat(" ", 12<<20+1))
	require.NoError(t, a.err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.status)
}

func TestSetCredentials(t *testing.T) {
	const list = "/apis/cci/v2/namespaces"
	b := newEnv(t)
	next := *b.client
	next.credential.AccessKey, next.credential.SecretKey = "AKNEXT", "another secret"
	require.Equal(t, http.StatusUnauthorized, next.do("GET", list, nil).status)

	require.Equal(t, http.StatusNoContent, b.admin("PUT", "/credentials", []ccisim.Credential{next.credential}).status)
	assert.Equal(t, http.StatusOK, next.do("GET", list, nil).status)
	assert.Equal(t, http.StatusUnauthorized, b.do("GET", list, nil).status, "the previous credential")

	refused := b.admin("PUT", "/credentials", []ccisim.Credential{})
	assert.Equal(t, http.StatusBadRequest, refused.status)
	assert.Contains(t, string(refused.body), "at least one is required")
	assert.Equal(t, http.StatusOK, next.do("GET", list, nil).status, "the credentials are the same")
}
