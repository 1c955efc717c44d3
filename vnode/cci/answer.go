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

// decodeError returns the error of a response whose HTTP status is not a success.
func decodeError(status int, header http.Header, body []byte, now time.Time) *Error {
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
	e.Kind = kindOf(status, e.Code, decoded.Reason)
	return e
}

// codeNoCluster means that the region has no capacity for now, although its HTTP status is 400.
// Source: CCI manual, "Error codes".
const codeNoCluster = "CCI.02.400116"

// deniedCodes are refusals that concern the account, not the request: not authorized in the console, in arrears,
// frozen. The codes of missing permissions are a range: see isPermissionCode. Source: CCI manual, "Error codes".
var deniedCodes = []string{"CCI.01.401102", "CCI.01.404101", "CCI.01.403122", "CCI.01.403009", "CCI.01.403010"}

const permissionCodes, firstPermission, lastPermission = "CCI.01.", 403103, 403114

func isDeniedCode(code string) bool {
	if slices.Contains(deniedCodes, code) {
		return true
	}
	if strings.HasPrefix(code, "APIG") {
		return true // The API gateway answers 403 for its own checks only, which do not depend on the Pod.
	}
	return isPermissionCode(code)
}

func isPermissionCode(code string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(code, permissionCodes))
	return err == nil && n >= firstPermission && n <= lastPermission
}

// kindOf classifies a response by what the caller can do about it.
func kindOf(status int, code string, reason metav1.StatusReason) Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled
	case code == codeNoCluster, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return Transient
	case status == http.StatusUnauthorized:
		return Denied
	case (status == http.StatusForbidden || status == http.StatusNotFound) && isDeniedCode(code):
		return Denied
	case status == http.StatusForbidden && code == "" && reason == "":
		return Denied // From a firewall or a proxy, whose decision does not depend on the Pod either.
	case status == http.StatusNotFound && reason == metav1.StatusReasonNotFound:
		return NotFound
	case status == http.StatusNotFound:
		return Transient // From a proxy or a wrong address. Treated as proof, it would end Pods that are running.
	case status == http.StatusConflict && reason == metav1.StatusReasonAlreadyExists:
		return AlreadyExists
	case status == http.StatusConflict:
		return Conflict
	case status == http.StatusGone:
		return Expired
	}
	return Permanent
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
