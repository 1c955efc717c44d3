package ccisim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
)

const (
	headerContentHash   = "X-Sdk-Content-Sha256"
	headerProjectID     = "X-Project-Id"
	headerSecurityToken = "X-Security-Token"
	headerAuthToken     = "X-Auth-Token"
	unsignedPayload     = "UNSIGNED-PAYLOAD"

	// maxSkew is how far a signature's date may be from the service's clock. Source: the vendor's signing documents.
	maxSkew = 15 * time.Minute
)

var authorizationForm = regexp.MustCompile(`^SDK-HMAC-SHA256 Access=([^,\s]+), SignedHeaders=([^,\s]+), Signature=([0-9a-f]{64})$`)

// authenticate finds out who calls. The second result is the reason of a refusal, in the gateway's words.
func (s *Sim) authenticate(r *http.Request, body []byte) (*Credential, string) {
	if token := r.Header.Get(headerAuthToken); token != "" {
		return s.authenticateToken(r, token)
	}
	parts := authorizationForm.FindStringSubmatch(r.Header.Get(signer.HeaderAuthorization))
	if parts == nil {
		return nil, "Incorrect IAM authentication information: the request has neither X-Auth-Token nor an SDK-HMAC-SHA256 Authorization header"
	}
	credential, known := s.accounts.Load().byAccessKey[parts[1]]
	if !known {
		return nil, "Incorrect IAM authentication information: AK access failed to reach the limit, or the AK does not exist"
	}
	if reason := s.checkSignedRequest(r, credential, body); reason != "" {
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

// of is the credential with the project that a request names, where it has none of its own.
func (c *Credential) of(r *http.Request) *Credential {
	if c.ProjectID != "" {
		return c
	}
	named := *c
	named.ProjectID = r.Header.Get(headerProjectID)
	return &named
}

func (s *Sim) authenticateToken(r *http.Request, token string) (*Credential, string) {
	known := s.accounts.Load().list
	for i := range known {
		credential := &known[i]
		if credential.AuthToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(credential.AuthToken)) == 1 {
			return credential.of(r), ""
		}
	}
	if credential := s.tokens.find(token, s.now()); credential != nil {
		return credential.of(r), ""
	}
	return nil, "Incorrect IAM authentication information: decrypt token fail"
}

// checkSignedRequest checks what a signature alone does not prove.
func (s *Sim) checkSignedRequest(r *http.Request, credential *Credential, body []byte) string {
	date, err := time.Parse(signer.BasicDateFormat, r.Header.Get(signer.HeaderXDate))
	if err != nil {
		return fmt.Sprintf("X-Sdk-Date %q is not of the form %s", r.Header.Get(signer.HeaderXDate), signer.BasicDateFormat)
	}
	if skew := s.cfg.Clock.Now().Sub(date).Abs(); skew > maxSkew {
		return "signature expired"
	}
	// The SDK's signer believes this header without looking at the body.
	if hash := r.Header.Get(headerContentHash); hash != "" && hash != unsignedPayload {
		sum := sha256.Sum256(body)
		if hash != hex.EncodeToString(sum[:]) {
			return "X-Sdk-Content-Sha256 is not the hash of the body"
		}
	}
	if project := r.Header.Get(headerProjectID); project != "" && credential.ProjectID != "" && project != credential.ProjectID {
		return "the project of X-Project-Id is not the credential's"
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(headerSecurityToken)), []byte(credential.SecurityToken)) != 1 {
		return "X-Security-Token is not the credential's"
	}
	return ""
}

// signAgain signs the received request with the SDK's own signer, over the headers that the caller says it signed.
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
	// The signer fills in the present time when the date is not among the signed headers; the date that was sent is what counts.
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
