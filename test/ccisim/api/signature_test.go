package api

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// The vendor publishes one request with its hash and its signature: support.huaweicloud.com, devg-apisign,
// api-sign-algorithm-002 to -004. Its secret key is public.
func TestSignatureOfThePublishedExample(t *testing.T) {
	r := httptest.NewRequest("GET", "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"+
		"?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(headerDate, "20191115T033655Z")
	signed := []string{"content-type", "host", "x-sdk-date"}
	canonical, err := canonicalRequest(r, nil, signed)
	require.NoError(t, err)
	assert.Equal(t, "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a", hexHash([]byte(canonical)))
	signature, err := Signature(r, nil, signed, "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc")
	require.NoError(t, err)
	assert.Equal(t, "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe", signature)
}

func TestCanonicalRequests(t *testing.T) {
	cases := map[string]struct {
		method, target string
		header         http.Header
		body           string
		signed         string
		want           []string
	}{
		"no query and no headers but the date": {
			"GET", "/apis", http.Header{}, "", "x-sdk-date",
			[]string{"GET", "/apis/", "", "x-sdk-date:20260102T030405Z\n", "x-sdk-date", emptyHash},
		},
		"a path that ends with a slash": {
			"GET", "/apis/", http.Header{}, "", "x-sdk-date",
			[]string{"GET", "/apis/", "", "x-sdk-date:20260102T030405Z\n", "x-sdk-date", emptyHash},
		},
		"characters of the path": {
			"DELETE", "/a%20b/p%C3%B6d/c%2Fd/~e-f_g.h/*", http.Header{}, "", "x-sdk-date",
			[]string{"DELETE", "/a%20b/p%C3%B6d/c%2Fd/~e-f_g.h/%2A/", "", "x-sdk-date:20260102T030405Z\n", "x-sdk-date",
				emptyHash},
		},
		"a query that is sorted by name, then by value": {
			"GET", "/p?b=2&a=z&B=1&a=y&a=", http.Header{}, "", "x-sdk-date",
			[]string{"GET", "/p/", "B=1&a=&a=y&a=z&b=2", "x-sdk-date:20260102T030405Z\n", "x-sdk-date", emptyHash},
		},
		"characters of the query": {
			"GET", "/p?labelSelector=a+in%20(b%2Cc)&x=~*'%2B&&watch", http.Header{}, "", "x-sdk-date",
			[]string{"GET", "/p/", "labelSelector=a%20in%20%28b%2Cc%29&watch=&x=~%2A%27%2B",
				"x-sdk-date:20260102T030405Z\n", "x-sdk-date", emptyHash},
		},
		"a signed type of the body, as small clients send it": {
			"POST", "/p", http.Header{"Content-Type": {"application/json"}, "X-Project-Id": {" p1\t"}}, "{}",
			"content-type;x-project-id;x-sdk-date",
			[]string{"POST", "/p/", "", "content-type:application/json\nx-project-id:p1\nx-sdk-date:20260102T030405Z\n",
				"content-type;x-project-id;x-sdk-date",
				"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		},
		"names in another order and in another case": {
			"GET", "/p", http.Header{"X-Project-Id": {"p1"}}, "", "X-Sdk-Date;Host;X-Project-Id",
			[]string{"GET", "/p/", "", "host:cci.test\nx-project-id:p1\nx-sdk-date:20260102T030405Z\n",
				"host;x-project-id;x-sdk-date", emptyHash},
		},
		"a header that the request lacks": {
			"GET", "/p", http.Header{}, "", "x-project-id;x-sdk-date",
			[]string{"GET", "/p/", "", "x-project-id:\nx-sdk-date:20260102T030405Z\n", "x-project-id;x-sdk-date", emptyHash},
		},
		"a payload that is not signed": {
			"PATCH", "/p", http.Header{headerContentHash: {unsignedPayload}}, "{}", "x-sdk-content-sha256;x-sdk-date",
			[]string{"PATCH", "/p/", "", "x-sdk-content-sha256:UNSIGNED-PAYLOAD\nx-sdk-date:20260102T030405Z\n",
				"x-sdk-content-sha256;x-sdk-date", unsignedPayload},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "http://cci.test"+tc.target, nil)
			r.Header = tc.header
			r.Header.Set(headerDate, "20260102T030405Z")
			got, err := canonicalRequest(r, []byte(tc.body), strings.Split(tc.signed, ";"))
			require.NoError(t, err)
			assert.Equal(t, strings.Join(tc.want, "\n"), got)
		})
	}
}

func TestQueryThatCannotBeDecoded(t *testing.T) {
	for _, query := range []string{"%zz=1", "a=%zz"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = &url.URL{Path: "/p", RawQuery: query}
		_, err := canonicalRequest(r, nil, nil)
		assert.ErrorContains(t, err, "decoding the query")
	}
}

// The signer of the SDK and this package agree on every request. They share no code.
func TestSignaturesAreThoseOfTheSDK(t *testing.T) {
	const characters = "abcXYZ019-_.~ !*'();:@&=+$,?#[]%ä中\"<>|\\^`{}"
	letters := []rune(characters)
	random := rand.New(rand.NewPCG(1, 2))
	text := func(atLeast int) string {
		var out strings.Builder
		for range atLeast + random.IntN(6) {
			out.WriteRune(letters[random.IntN(len(letters))])
		}
		return out.String()
	}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	types := []string{"", jsonType, jsonPatchType, mergePatchType, strategicPatchType}
	for i := range 500 {
		method, contentType, body := methods[random.IntN(len(methods))], types[random.IntN(len(types))], text(0)
		path := "/apis"
		for range random.IntN(4) {
			path += "/" + text(1)
		}
		builder := request.NewHttpRequestBuilder().WithMethod(method).WithEndpoint("http://cci.test").WithPath(path).
			WithBody("", body).AddHeaderParam(headerProjectID, text(1))
		if contentType != "" {
			builder.AddHeaderParam("Content-Type", contentType)
		}
		query := url.Values{}
		for range random.IntN(4) {
			query.Add(text(1), text(0))
		}
		for name, values := range query {
			builder.AddQueryParam(name, reflect.ValueOf(values))
		}
		built := builder.Build()
		headers, err := signer.Sign(built, account.AccessKey, account.SecretKey)
		require.NoError(t, err)
		r := httptest.NewRequest(method, "http://cci.test/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query.Encode()}
		for name, value := range built.GetHeaderParams() {
			r.Header.Set(name, value)
		}
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		parts := authorizationForm.FindStringSubmatch(r.Header.Get(headerAuthorization))
		require.NotNil(t, parts)
		got, err := Signature(r, []byte(body), strings.Split(parts[2], ";"), account.SecretKey)
		require.NoError(t, err)
		require.Equal(t, parts[3], got, "request %d: %s %q ?%s %v %q", i, method, path, query.Encode(), r.Header, body)
	}
}
