package api

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
)

const (
	headerAuthorization = "Authorization"
	headerProjectID     = "X-Project-Id"
	headerSecurityToken = "X-Security-Token"
	headerAuthToken     = "X-Auth-Token"

	// unauthenticated begins every message about credentials.
	unauthenticated = "Incorrect IAM authentication information: "

	// maxSkew is the greatest difference between the date of a signature and the clock of the service. Source: the
	// vendor's documents about signatures.
	maxSkew = 15 * time.Minute
)

var authorizationForm = regexp.MustCompile(
	`^SDK-HMAC-SHA256 Access=([^,\s]+), SignedHeaders=([^,\s]+), Signature=([0-9a-f]{64})$`)

// accounts are the credentials that are accepted.
type accounts struct {
	list        []Credential
	byAccessKey map[string]*Credential
}

func newAccounts(list []Credential) *accounts {
	a := &accounts{list: slices.Clone(list), byAccessKey: map[string]*Credential{}}
	for i := range a.list {
		a.byAccessKey[a.list[i].AccessKey] = &a.list[i]
	}
	return a
}

// Auth authenticates requests by credentials and tokens. Its methods may be called from any goroutine.
type Auth struct {
	clock     clock.PassiveClock
	tokenLife time.Duration
	accounts  atomic.Pointer[accounts]
	tokens    issuedTokens
}

// NewAuth returns an Auth that accepts the credentials, which must be valid. Tokens are valid for tokenLife.
func NewAuth(credentials []Credential, clock clock.PassiveClock, tokenLife time.Duration) *Auth {
	a := &Auth{clock: clock, tokenLife: tokenLife, tokens: issuedTokens{byToken: map[string]issuedToken{}}}
	a.accounts.Store(newAccounts(credentials))
	return a
}

// SetCredentials replaces the accepted credentials. Requests that are signed with other credentials then get 401. Open
// streams continue.
func (a *Auth) SetCredentials(list []Credential) error {
	if errs := ValidateCredentials(list, field.NewPath("credentials")); len(errs) > 0 {
		return fmt.Errorf("setting credentials: %w", errs.ToAggregate())
	}
	a.accounts.Store(newAccounts(list))
	return nil
}

// authenticate returns the credential of the client. If it is nil, the second result is the gateway's message.
func (a *Auth) authenticate(r *http.Request, body []byte) (*Credential, string) {
	if token := tokenOf(r); token != "" {
		return a.authenticateToken(r, token)
	}
	parts := authorizationForm.FindStringSubmatch(r.Header.Get(headerAuthorization))
	if parts == nil {
		return nil, unauthenticated + "the request has no token and no " + signatureAlgorithm + " Authorization header"
	}
	credential, known := a.accounts.Load().byAccessKey[parts[1]]
	if !known {
		return nil, unauthenticated + "AK access failed to reach the limit, or the AK does not exist"
	}
	if reason := a.checkSignedRequest(r, credential, body); reason != "" {
		return nil, unauthenticated + reason
	}
	want, err := Signature(r, body, strings.Split(parts[2], ";"), credential.SecretKey)
	if err != nil {
		return nil, unauthenticated + err.Error()
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(parts[3])) != 1 {
		return nil, unauthenticated + "verify aksk signature fail"
	}
	return credential.of(r), ""
}

// tokenOf returns the IAM token of a request: that of X-Auth-Token, or that of kubectl and other Kubernetes clients.
func tokenOf(r *http.Request) string {
	if token := r.Header.Get(headerAuthToken); token != "" {
		return token
	}
	scheme, token, _ := strings.Cut(r.Header.Get(headerAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// of returns the credential, with the project that a request names if the credential names none.
func (c *Credential) of(r *http.Request) *Credential {
	if c.ProjectID != "" {
		return c
	}
	named := *c
	named.ProjectID = r.Header.Get(headerProjectID)
	return &named
}

func (a *Auth) authenticateToken(r *http.Request, token string) (*Credential, string) {
	known := a.accounts.Load().list
	for i := range known {
		credential := &known[i]
		if credential.AuthToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(credential.AuthToken)) == 1 {
			return credential.of(r), ""
		}
	}
	if credential := a.tokens.find(token, a.clock.Now()); credential != nil {
		return credential.of(r), ""
	}
	return nil, unauthenticated + "decrypt token fail"
}

// checkSignedRequest checks what a signature alone does not prove.
func (a *Auth) checkSignedRequest(r *http.Request, credential *Credential, body []byte) string {
	date, err := time.Parse(dateFormat, r.Header.Get(headerDate))
	if err != nil {
		return fmt.Sprintf("X-Sdk-Date %q is not of the form %s", r.Header.Get(headerDate), dateFormat)
	}
	if skew := a.clock.Now().Sub(date).Abs(); skew > maxSkew {
		return "signature expired"
	}
	// The signature covers the hash that this header names, not the body.
	if hash := r.Header.Get(headerContentHash); hash != "" && hash != unsignedPayload && hash != hexHash(body) {
		return headerContentHash + " is not the hash of the body"
	}
	project := r.Header.Get(headerProjectID)
	if project != "" && credential.ProjectID != "" && project != credential.ProjectID {
		return "the project of X-Project-Id is not the credential's"
	}
	token := r.Header.Get(headerSecurityToken)
	if subtle.ConstantTimeCompare([]byte(token), []byte(credential.SecurityToken)) != 1 {
		return "X-Security-Token is not the credential's"
	}
	return ""
}
