package cci

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
)

// call is one request before it is signed.
type call struct {
	// operation names the call in metrics and errors.
	operation string
	// endpoint is the scheme and the host if they differ from those of the service.
	endpoint string
	method   string
	path     string
	query    url.Values
	// body is JSON. It is empty if the request has no body.
	body []byte
	// namespace is the cloud namespace of the path, empty for other paths. list is the path of the list that contains the
	// object of the call, empty if the call is not about one object. They show what a 404 means: see Client.explain.
	namespace, list string
	// feature is the feature that the call belongs to, empty if every region must offer its API.
	feature Feature
}

// sign returns the HTTP request of a call, signed with the vendor's signer. The signature is valid for 15 minutes and
// for this request only.
func (c *Client) sign(ctx context.Context, call call) (*http.Request, error) {
	builder := request.NewHttpRequestBuilder().
		WithEndpoint(cmp.Or(call.endpoint, c.config.Endpoint)).
		WithPath(call.path).
		WithMethod(call.method).
		AddHeaderParam("X-Project-Id", c.config.ProjectID)
	for key, values := range call.query {
		builder.AddQueryParam(key, reflect.ValueOf(values))
	}
	if len(call.body) > 0 {
		builder.AddHeaderParam("Content-Type", "application/json").WithBody("", string(call.body))
	}
	keys := c.config.Credentials.Current()
	if token := keys.SecurityToken; token != "" {
		builder.AddHeaderParam("X-Security-Token", token)
	}
	unsigned := builder.Build()
	headers, err := signer.Sign(unsigned, keys.AccessKey, keys.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	for name, value := range headers {
		unsigned.AddHeaderParam(name, value)
	}
	signed, err := unsigned.ConvertRequest()
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	signed.Header.Set("User-Agent", userAgent) // It is not signed because the gateway may change it.
	return signed.WithContext(ctx), nil
}
