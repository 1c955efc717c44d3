package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
)

const (
	headerContentHash   = "X-Sdk-Content-Sha256"
	headerProjectID     = "X-Project-Id"
	headerSecurityToken = "X-Security-Token"
	headerAuthToken     = "X-Auth-Token"
	unsignedPayload     = "UNSIGNED-PAYLOAD"

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
	if token := r.Header.Get(headerAuthToken); token != "" {
		return a.authenticateToken(r, token)
	}
	parts := authorizationForm.FindStringSubmatch(r.Header.Get(signer.HeaderAuthorization))
	if parts == nil {
		return nil, "Incorrect IAM authentication information: " +
			"the request has neither X-Auth-Token nor an SDK-HMAC-SHA256 Authorization header"
	}
	credential, known := a.accounts.Load().byAccessKey[parts[1]]
	if !known {
		return nil, "Incorrect IAM authentication information: " +
			"AK access failed to reach the limit, or the AK does not exist"
	}
	if reason := a.checkSignedRequest(r, credential, body); reason != "" {
		return nil, "Incorrect IAM authentication information: " + reason
	}
	want, err := signAgain(r, credential, strings.Split(parts[2], ";"), body)
	if err != nil {
		return nil, "Incorrect IAM authentication information: " + err.Error()
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(r.Header.Get(signer.HeaderAuthorization))) != 1 {
		return nil, "Incorrect IAM authentication information: verify aksk signature fail"
	}
	return credential.of(r), ""
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
	return nil, "Incorrect IAM authentication information: decrypt token fail"
}

// checkSignedRequest checks what a signature alone does not prove.
func (a *Auth) checkSignedRequest(r *http.Request, credential *Credential, body []byte) string {
	date, err := time.Parse(signer.BasicDateFormat, r.Header.Get(signer.HeaderXDate))
	if err != nil {
		return fmt.Sprintf("X-Sdk-Date %q is not of the form %s", r.Header.Get(signer.HeaderXDate), signer.BasicDateFormat)
	}
	if skew := a.clock.Now().Sub(date).Abs(); skew > maxSkew {
		return "signature expired"
	}
	// The signer of the SDK uses this header without reading the body.
	if hash := r.Header.Get(headerContentHash); hash != "" && hash != unsignedPayload {
		sum := sha256.Sum256(body)
		if hash != hex.EncodeToString(sum[:]) {
			return "X-Sdk-Content-Sha256 is not the hash of the body"
		}
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

// signAgain signs the received request with the signer of the SDK, over the headers that the client lists as signed.
func signAgain(r *http.Request, credential *Credential, signedHeaders []string, body []byte) (string, error) {
	builder := request.NewHttpRequestBuilder().
		WithMethod(r.Method).WithEndpoint("http://"+r.Host).WithPath(r.URL.Path).
		WithBody("", string(body))
	for _, name := range signedHeaders {
		switch name {
		case "host":
			builder.AddHeaderParam(name, r.Host)
		case strings.ToLower(signer.HeaderXDate):
			builder.AddHeaderParam(signer.HeaderXDate, r.Header.Get(name))
		case strings.ToLower(headerContentHash):
			builder.AddHeaderParam(headerContentHash, r.Header.Get(name))
		default:
			builder.AddHeaderParam(name, r.Header.Get(name))
		}
	}
	// The signer adds the present time if the date is not among the signed headers. The date that was sent must be used.
	builder.AddHeaderParam(signer.HeaderXDate, r.Header.Get(signer.HeaderXDate))
	for key, values := range r.URL.Query() {
		builder.AddQueryParam(key, reflect.ValueOf(values))
	}
	headers, err := signer.Sign(builder.Build(), credential.AccessKey, credential.SecretKey)
	if err != nil {
		return "", fmt.Errorf("signing the request again: %w", err)
	}
	return headers[signer.HeaderAuthorization], nil
}
