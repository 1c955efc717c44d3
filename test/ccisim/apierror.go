package ccisim

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The error codes of CCI that the vendor documents.
const (
	codeBadBody           = "CCI.01.400101"
	codeNamespaceSelector = "CCI.01.400105"
	codeConflict          = "CCI.02.409101"
	codeArrears           = "CCI.01.403009"
	codeNoAgency          = "CCI.01.403122"
)

// apiError is a refusal on its way to the caller.
type apiError struct {
	status     int
	body       any
	retryAfter int
	// words are for logs.
	words string
}

func (e *apiError) Error() string { return e.words }

// codedStatus is a Kubernetes Status with CCI's errorCode beside it.
type codedStatus struct {
	metav1.Status
	ErrorCode string `json:"errorCode,omitempty"`
}

// gatewayError is what the gateway in front of CCI answers: it knows nothing of Kubernetes.
type gatewayError struct {
	ErrorCode string `json:"error_code"`
	ErrorMsg  string `json:"error_msg"`
	RequestID string `json:"request_id"`
}

// statusError turns an apimachinery error into a refusal, with CCI's code where one is documented.
func statusError(err error, errorCode string) *apiError {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	out := &apiError{status: int(s.Code), body: codedStatus{Status: s, ErrorCode: errorCode}, words: s.Message}
	if s.Details != nil {
		out.retryAfter = int(s.Details.RetryAfterSeconds)
	}
	return out
}

func badRequest(errorCode, format string, args ...any) *apiError {
	return statusError(apierrors.NewBadRequest(fmt.Sprintf(format, args...)), errorCode)
}

func notFound(res *resource, name string) *apiError {
	return statusError(apierrors.NewNotFound(res.groupResource(), name), "")
}

func alreadyExists(res *resource, name string) *apiError {
	return statusError(apierrors.NewAlreadyExists(res.groupResource(), name), codeConflict)
}

func conflict(res *resource, name, format string, args ...any) *apiError {
	return statusError(apierrors.NewConflict(res.groupResource(), name, fmt.Errorf(format, args...)), codeConflict)
}

// forbidden is the admission's refusal. The service is known to answer 403 for these, with no code that anybody has seen.
func forbidden(res *resource, name, format string, args ...any) *apiError {
	return statusError(apierrors.NewForbidden(res.groupResource(), name, fmt.Errorf(format, args...)), "")
}

func invalid(res *resource, name string, errs field.ErrorList) *apiError {
	return statusError(apierrors.NewInvalid(schema.GroupKind{Group: res.group, Kind: res.kind}, name, errs), "")
}

func unknownPath() *apiError {
	return statusError(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}, "")
}

func methodNotAllowed(res *resource, verb string) *apiError {
	return statusError(apierrors.NewMethodNotSupported(res.groupResource(), verb), "")
}

func unsupportedMediaType(got, want string) *apiError {
	return statusError(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s (got %q)", want, got),
	}}, "")
}

func expired(format string, args ...any) *apiError {
	return statusError(apierrors.NewResourceExpired(fmt.Sprintf(format, args...)), "")
}

// tooLargeResourceVersion is Kubernetes' answer to a list at a version that the store has not reached.
func tooLargeResourceVersion(asked, current uint64) *apiError {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return statusError(err, "")
}

// gateway makes a refusal of the gateway; the request id is filled in when it is sent.
func gateway(status int, code, message string) *apiError {
	return &apiError{status: status, body: gatewayError{ErrorCode: code, ErrorMsg: message}, words: message}
}

// encode gives the refusal's status, body and headers.
func (e *apiError) encode(requestID string) (int, []byte, http.Header) {
	header := http.Header{}
	if e.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	body := e.body
	header.Set("Content-Type", "application/json")
	switch b := body.(type) {
	case gatewayError:
		b.RequestID = requestID
		body = b
	case htmlPage:
		header.Set("Content-Type", "text/html")
		return e.status, []byte("<html><body><h1>" + html.EscapeString(string(b)) + "</h1></body></html>\n"), header
	}
	return e.status, mustEncode(body), header
}

// htmlPage is a refusal in words for people.
type htmlPage string

// mustEncode encodes values of this package's own types, which cannot fail to encode.
func mustEncode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		return []byte(fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":%q}`, err.Error()))
	}
	return data
}
