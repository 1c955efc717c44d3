package cci

import (
	"cmp"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// maxTextLength is the length in bytes to which the text of a response that is not JSON, such as an HTML page, is
// truncated in an error.
const maxTextLength = 300

// errorBody decodes every form of an error response: a Kubernetes Status with the errorCode of CCI, or the fields of
// the API gateway in front of CCI. A response of neither form is treated as text.
type errorBody struct {
	metav1.Status
	ErrorCode      string `json:"errorCode"`
	GatewayCode    string `json:"error_code"`
	GatewayMessage string `json:"error_msg"`
}

// decodeError returns the error of a response to a method whose HTTP status is not a success.
func decodeError(method string, status int, header http.Header, body []byte, now time.Time) *Error {
	var decoded errorBody
	_ = json.Unmarshal(body, &decoded) // A body that is not JSON is used as text below.
	text := decoded.Message
	if text == "" {
		text = cmp.Or(decoded.GatewayMessage, truncate(stripTags(string(body))), http.StatusText(status))
	}
	e := &Error{
		Status:    status,
		Code:      policy.Clip(cmp.Or(decoded.ErrorCode, decoded.GatewayCode), maxName),
		Message:   policy.Clip(text, policy.MaxMessage),
		RequestID: policy.Clip(header.Get("X-Request-Id"), maxName),
		After:     retryAfter(header, now),
	}
	e.Kind = decoded.kind(method, status, e.Code)
	e.unexplained = e.Kind == Transient && status == http.StatusNotFound
	return e
}

// codeNoCluster means that the region has no capacity for now, although its HTTP status is 400.
// Source: CCI manual, "Error codes".
const codeNoCluster = "CCI.02.400116"

// accountCodes are refusals that concern the account, not the request: not authorized in the console, in arrears,
// frozen, without a quota for the agency, not on the list of accounts that may use the service. The codes of missing
// permissions are a range: see isPermissionCode. Source: CCI manual, "Error codes".
var accountCodes = []string{
	"CCI.01.401102", "CCI.01.404101", "CCI.01.403122", "CCI.01.403009", "CCI.01.403010", codeAgencyQuota, codeNotListed,
}

const permissionCodes, firstPermission, lastPermission = "CCI.01.", 403103, 403114

func isAccountCode(code string) bool {
	return slices.Contains(accountCodes, code) || isPermissionCode(code)
}

// isGatewayCode reports whether the API gateway in front of CCI has answered. Source: CCI manual, "Error codes".
func isGatewayCode(code string) bool { return strings.HasPrefix(code, "APIG") }

func isPermissionCode(code string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(code, permissionCodes))
	return err == nil && n >= firstPermission && n <= lastPermission
}

// unknownResource begins the message of an API server that does not know the resource of a path. Its reason is NotFound
// too, but the object may well exist. Source: Kubernetes v1.36,
// staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go.
const unknownResource = "the server could not find the requested resource"

// isStatus reports whether CCI itself has answered, and no gateway or proxy.
func (b *errorBody) isStatus() bool {
	return b.Kind == "Status" || b.Status.Status == metav1.StatusFailure
}

// kind classifies a response by what the caller can do about it.
func (b *errorBody) kind(method string, status int, code string) Kind {
	reason := b.Reason
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled
	case code == codeNoCluster, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return Transient
	case status < http.StatusBadRequest:
		return Transient // A redirect, of a proxy that wants a login or of a wrong endpoint. No Pod may fail for it.
	case status == http.StatusUnauthorized:
		return Denied
	case isAccountCode(code):
		return Denied
	case b.isQuota(method, status, code):
		return QuotaExceeded
	case status == http.StatusForbidden && isGatewayCode(code):
		return Denied // The gateway answers 403 for its own checks only, which do not depend on the Pod.
	case status == http.StatusForbidden && code == "" && reason == "":
		if b.isStatus() && isWrite(method) {
			return Permanent // The object was read and refused: the text says why. A key is refused for reads as well.
		}
		return Denied // From a firewall or a proxy, whose decision does not depend on the Pod either.
	case status == http.StatusNotFound && (isGatewayCode(code) || strings.HasPrefix(b.Message, unknownResource)):
		return NotOffered
	case status == http.StatusNotFound && reason == metav1.StatusReasonNotFound:
		return NotFound
	case status == http.StatusNotFound:
		return Transient // Maybe from a proxy. Treated as proof, it would end Pods that are running: see Client.explain.
	case status == http.StatusConflict && reason == metav1.StatusReasonAlreadyExists:
		return AlreadyExists
	case b.isQuotaBusy(status):
		return Transient
	case status == http.StatusConflict:
		return Conflict
	case status == http.StatusGone:
		return Expired
	}
	return Permanent
}

// isWrite reports whether a request with the method sends an object.
func isWrite(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// maxRetryAfter is the longest delay that the client accepts from a Retry-After header.
const maxRetryAfter = time.Minute

// retryAfter parses the header Retry-After in both of its forms: seconds, or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	var delay time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		delay = time.Duration(min(seconds, int(maxRetryAfter.Seconds()))) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		delay = date.Sub(now)
	}
	return min(max(delay, 0), maxRetryAfter)
}

var tags = regexp.MustCompile(`(?is)<(style|script)\b.*?</(style|script)>|<[^<>]*>`)

// stripTags returns the readable text of an HTML page. Firewalls and gateways answer with HTML.
func stripTags(text string) string {
	if !strings.HasPrefix(strings.TrimSpace(text), "<") {
		return text
	}
	return html.UnescapeString(tags.ReplaceAllString(text, " "))
}

// truncate returns at most maxTextLength bytes of the text, as one line.
func truncate(text string) string {
	return policy.Clip(strings.Join(strings.Fields(text), " "), maxTextLength)
}
