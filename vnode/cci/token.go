package cci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// tokenLife is the lifetime of a token whose response has no expiry. Source: IAM manual, "Obtaining a user token".
const tokenLife = 24 * time.Hour

// tokenCache holds the newest IAM token. It is locked during a request for a token, so that all callers wait for the
// same token.
type tokenCache struct {
	mu    sync.Mutex
	token string
	renew time.Time
}

// tokenRequest requests a token of the project with the access key. Source: IAM manual, "Obtaining a user token". The
// method hw_ak_sk is not documented there, but works in practice.
type tokenRequest struct {
	Auth struct {
		Identity struct {
			Methods []string `json:"methods"`
			Keys    struct {
				Access tokenKey `json:"access"`
				Secret tokenKey `json:"secret"`
			} `json:"hw_ak_sk"`
		} `json:"identity"`
		Scope struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"scope"`
	} `json:"auth"`
}

type tokenKey struct {
	Key string `json:"key"`
}

// authToken returns the token of the credentials, or else one that is requested with the access key. It returns
// neither the refused token nor one that expires soon.
func (c *Client) authToken(ctx context.Context, refused string) (string, error) {
	if given := c.config.Credentials.Current().AuthToken; given != "" {
		return given, nil
	}
	c.tokens.mu.Lock()
	defer c.tokens.mu.Unlock()
	if kept := c.tokens.token; kept != "" && kept != refused && time.Now().Before(c.tokens.renew) {
		return kept, nil
	}
	token, ends, err := c.createToken(ctx)
	if err != nil {
		return "", fmt.Errorf("requesting an IAM token: %w", err)
	}
	// Early enough that a token is not used in its last hours, late enough that few tokens are requested.
	c.tokens.token, c.tokens.renew = token, time.Now().Add(time.Until(ends)*11/12)
	return token, nil
}

func (c *Client) createToken(ctx context.Context) (token string, ends time.Time, err error) {
	var request tokenRequest
	request.Auth.Identity.Methods = []string{"hw_ak_sk"}
	keys := c.config.Credentials.Current()
	request.Auth.Identity.Keys.Access.Key, request.Auth.Identity.Keys.Secret.Key = keys.AccessKey, keys.SecretKey
	request.Auth.Scope.Project.ID = c.config.ProjectID
	body, err := encode(&request)
	if err != nil {
		return "", time.Time{}, err
	}
	tryCtx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	response, err := c.send(tryCtx, ctx, call{
		operation: "CreateToken", endpoint: c.config.Exec.IAMEndpoint, method: http.MethodPost, path: "/v3/auth/tokens",
		query: url.Values{"nocatalog": {"true"}}, body: body, feature: Exec,
	})
	if err != nil {
		return "", time.Time{}, err
	}
	defer response.Body.Close()
	token = response.Header.Get("X-Subject-Token")
	if token == "" {
		return "", time.Time{}, &Error{Kind: Transient, Message: "the answer has no header X-Subject-Token"}
	}
	var answer struct {
		Token struct {
			ExpiresAt time.Time `json:"expires_at"`
		} `json:"token"`
	}
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxObject))
	if decoder.Decode(&answer) != nil || answer.Token.ExpiresAt.IsZero() {
		return token, time.Now().Add(tokenLife), nil
	}
	return token, answer.Token.ExpiresAt, nil
}
