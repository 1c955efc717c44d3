package cci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Read sends a signed GET of any path and returns the body of a successful answer. It is for what API does not express,
// such as the lists of the groups and resources that a region offers. endpoint is the scheme and the host of another
// service that takes the same signatures, such as VPC; empty means CCI. It is not retried, and blocks as a method of
// API does.
func (c *Client) Read(ctx context.Context, endpoint, path string, query url.Values) ([]byte, error) {
	if err := c.limiter.Wait(ctx); err != nil {
		return nil, err
	}
	tryCtx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	response, err := c.send(tryCtx, ctx, call{
		operation: "Read", endpoint: endpoint, method: http.MethodGet, path: path, query: query,
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	defer response.Body.Close()
	reader := &boundedReader{reader: response.Body, total: maxObject}
	reader.next()
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, noAnswer(ctx, "reading the answer of the cloud", err)
	}
	return body, nil
}

// CheckToken requests an IAM token with the access key, or does nothing if there is a valid one. Commands in containers
// need one (HandshakeToken).
func (c *Client) CheckToken(ctx context.Context) error {
	_, err := c.authToken(ctx, "")
	return err
}
