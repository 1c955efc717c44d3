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
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostWords is how much of an answer that is no JSON goes into an error: pages of HTML help nobody.
const mostWords = 300

// fault is every form in which an error may come: a Kubernetes Status with the service's errorCode, or what the gateway in
// front of the service writes. What is neither is taken as text.
type fault struct {
	metav1.Status
	ErrorCode    string `json:"errorCode"`
	GatewayCode  string `json:"error_code"`
	GatewayWords string `json:"error_msg"`
}

// decodeFault makes the error of an answer.
func decodeFault(status int, header http.Header, body []byte, now time.Time) *Error {
	var f fault
	_ = json.Unmarshal(body, &f) // No JSON is an answer too: the text is taken below.
	text := f.Message
	if text == "" {
		text = cmp.Or(f.GatewayWords, clip(withoutTags(string(body))), http.StatusText(status))
	}
	e := &Error{
		Status:    status,
		Code:      cmp.Or(f.ErrorCode, f.GatewayCode),
		Message:   text,
		RequestID: header.Get("X-Request-Id"),
		After:     retryAfter(header, now),
	}
	e.Kind = kindOf(status, e.Code, f.Reason)
	return e
}

// Codes whose meaning differs from that of their HTTP status. Source: CCI manual, error codes.
const (
	// codeNoCluster: the region has no capacity for now.
	codeNoCluster = "CCI.02.400116"
)

// deniedCodes are refusals of the account rather than of the request: not authorised in the console, arrears, frozen.
// Those of missing permissions are a range: see isDeniedCode.
var deniedCodes = []string{"CCI.01.401102", "CCI.01.404101", "CCI.01.403122", "CCI.01.403009", "CCI.01.403010"}

const permissionCodes, firstPermission, lastPermission = "CCI.01.", 403103, 403114

func isDeniedCode(code string) bool {
	if slices.Contains(deniedCodes, code) {
		return true
	}
	if strings.HasPrefix(code, "APIG") {
		return true // The gateway answers 403 for what its own checks refuse: it knows nothing of Pods.
	}
	return isPermissionCode(code)
}

func isPermissionCode(code string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(code, permissionCodes))
	return err == nil && n >= firstPermission && n <= lastPermission
}

// kindOf says what a caller can do about an answer.
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
		return Denied // Of a firewall or a proxy, which knows nothing of Pods either.
	case status == http.StatusNotFound && reason == metav1.StatusReasonNotFound:
		return NotFound
	case status == http.StatusNotFound:
		return Transient // Of a proxy or a wrong address: taken for a proof, it would end Pods that run.
	case status == http.StatusConflict && reason == metav1.StatusReasonAlreadyExists:
		return AlreadyExists
	case status == http.StatusConflict:
		return Conflict
	case status == http.StatusGone:
		return Expired
	}
	return Permanent
}

// longestPause bounds how long the service can make us wait.
const longestPause = time.Minute

// retryAfter reads the header in both of its forms: seconds, and a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	var pause time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		pause = time.Duration(min(seconds, int(longestPause.Seconds()))) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		pause = date.Sub(now)
	}
	return min(max(pause, 0), longestPause)
}

var tags = regexp.MustCompile(`(?is)<(style|script)\b.*?</(style|script)>|<[^<>]*>`)

// withoutTags is what people read of a page: firewalls and gateways answer with one.
func withoutTags(text string) string {
	if !strings.HasPrefix(strings.TrimSpace(text), "<") {
		return text
	}
	return html.UnescapeString(tags.ReplaceAllString(text, " "))
}

func clip(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= mostWords {
		return text
	}
	end := mostWords
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
