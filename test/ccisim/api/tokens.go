package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// TokensPath is where IAM, which the simulator also plays, issues tokens for access keys.
const TokensPath = "/v3/auth/tokens"

// issuedTokens are the tokens that were issued. They are lost in a restart.
type issuedTokens struct {
	mu      sync.Mutex
	byToken map[string]issuedToken
}

type issuedToken struct {
	credential *Credential
	ends       time.Time
}

// find returns the credential of a token, nil if the token is unknown or expired.
func (t *issuedTokens) find(token string, now time.Time) *Credential {
	t.mu.Lock()
	defer t.mu.Unlock()
	issued, ok := t.byToken[token]
	if !ok || !now.Before(issued.ends) {
		return nil
	}
	return issued.credential
}

func (t *issuedTokens) issue(credential *Credential, ends time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	token := string(uuid.NewUUID())
	t.byToken[token] = issuedToken{credential, ends}
	return token
}

// RevokeTokens makes all issued tokens invalid, as a change of the account's password does.
func (a *Auth) RevokeTokens() {
	a.tokens.mu.Lock()
	defer a.tokens.mu.Unlock()
	clear(a.tokens.byToken)
}

// tokenRequest is the body of a request for a token by access key; passwords are not simulated.
type tokenRequest struct {
	Auth struct {
		Identity struct {
			Methods []string `json:"methods"`
			Keys    struct {
				Access struct {
					Key string `json:"key"`
				} `json:"access"`
				Secret struct {
					Key string `json:"key"`
				} `json:"secret"`
			} `json:"hw_ak_sk"`
		} `json:"identity"`
		Scope struct {
			Project struct {
				ID   string `json:"id"`
				Name string `json:"name"`
			} `json:"project"`
		} `json:"scope"`
	} `json:"auth"`
}

// TokenHandler serves IAM's POST /v3/auth/tokens, and counts the requests.
func (a *Auth) TokenHandler(requests *Requests) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ends := a.clock.Now().Add(a.tokenLife)
		credential, err := a.tokenCaller(w, r)
		code, body := http.StatusCreated, map[string]any{}
		if err == nil {
			body["token"] = map[string]any{
				"expires_at": ends.UTC().Format("2006-01-02T15:04:05.000000Z"), "methods": []string{"hw_ak_sk"},
				"user": map[string]any{"name": "simulated-user", "domain": map[string]any{
					"id": credential.DomainID, "name": "simulated-account",
				}},
				"project": map[string]any{"id": credential.ProjectID},
			}
			w.Header().Set("X-Subject-Token", a.tokens.issue(credential, ends))
		} else {
			code = http.StatusUnauthorized
			body = map[string]any{"error": map[string]any{
				"code": code, "message": err.Error(), "title": http.StatusText(code),
			}}
		}
		requests.count("create", "tokens", code, false)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write(mustEncode(body)) // The client may have closed the connection.
	})
}

// tokenCaller returns the credential of a client that requests a token.
func (a *Auth) tokenCaller(w http.ResponseWriter, r *http.Request) (*Credential, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	var request tokenRequest
	if r.Method != http.MethodPost || json.Unmarshal(body, &request) != nil {
		return nil, errors.New("the request is not a POST of JSON")
	}
	keys, project := request.Auth.Identity.Keys, request.Auth.Scope.Project
	credential, reason := a.authenticate(r, body)
	switch {
	case credential == nil:
		return nil, errors.New(reason)
	case keys.Access.Key != credential.AccessKey || keys.Secret.Key != credential.SecretKey:
		return nil, errors.New("the access key or the secret key is wrong")
	case project.ID == "" && project.Name == "":
		return nil, errors.New("the scope names no project")
	}
	return credential, nil
}
