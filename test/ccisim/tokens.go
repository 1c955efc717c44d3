package ccisim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// tokensPath is where IAM, which the simulator plays too, gives tokens for access keys.
const tokensPath = "/v3/auth/tokens"

// issuedTokens are the tokens that were given. It has its own lock. A restart forgets them.
type issuedTokens struct {
	mu      sync.Mutex
	byToken map[string]issuedToken
}

type issuedToken struct {
	credential *Credential
	ends       time.Time
}

// find returns whose token it is, nil for one that is unknown or over.
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
	token := string(newUID())
	t.byToken[token] = issuedToken{credential, ends}
	return token
}

// RevokeTokens makes all tokens invalid that were given for access keys, as a change of the account's password does.
func (s *Sim) RevokeTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	clear(s.tokens.byToken)
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

// serveTokens answers IAM's POST /v3/auth/tokens.
func (s *Sim) serveTokens(w http.ResponseWriter, r *http.Request) {
	code := http.StatusCreated
	ends := s.now().Add(s.cfg.TokenLife)
	credential, err := s.tokenCaller(w, r)
	if err != nil {
		code = http.StatusUnauthorized
	}
	s.records.countRequest("create", "tokens", code, false)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(code)
		_, _ = w.Write(mustEncode(map[string]any{"error": map[string]any{"code": code, "message": err.Error(), "title": http.StatusText(code)}}))
		return
	}
	w.Header().Set("X-Subject-Token", s.tokens.issue(credential, ends))
	w.WriteHeader(code)
	_, _ = w.Write(mustEncode(map[string]any{"token": map[string]any{"expires_at": ends.UTC().Format("2006-01-02T15:04:05.000000Z"), "methods": []string{"hw_ak_sk"}}}))
}

// tokenCaller finds out who asks for a token.
func (s *Sim) tokenCaller(w http.ResponseWriter, r *http.Request) (*Credential, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	var asked tokenRequest
	if r.Method != http.MethodPost || json.Unmarshal(body, &asked) != nil {
		return nil, errors.New("the request is not a POST of JSON")
	}
	credential, reason := s.authenticate(r, body)
	switch {
	case credential == nil:
		return nil, errors.New(reason)
	case asked.Auth.Identity.Keys.Access.Key != credential.AccessKey || asked.Auth.Identity.Keys.Secret.Key != credential.SecretKey:
		return nil, errors.New("the access key or the secret key is wrong")
	case asked.Auth.Scope.Project.ID == "" && asked.Auth.Scope.Project.Name == "":
		return nil, errors.New("the scope names no project")
	}
	return credential, nil
}
