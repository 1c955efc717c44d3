package api

import (
	"cmp"
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

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// The error codes of CCI that the vendor documents.
const (
	codeBadBody           = "CCI.01.400101"
	codeNamespaceSelector = "CCI.01.400105"
	codeConflict          = "CCI.02.409101"
	codeArrears           = "CCI.01.403009"
	codeNoAgency          = "CCI.01.403122"
	codeAgencyQuota       = "CCI.01.400104"
	codeNotListed         = "CCI.02.400102"
)

// apiError is an error that is sent to the client.
type apiError struct {
	status     int
	body       any
	retryAfter int
	// message is for logs.
	message string
}

func (e *apiError) Error() string { return e.message }

// codedStatus is a Kubernetes Status with CCI's errorCode.
type codedStatus struct {
	metav1.Status
	ErrorCode string `json:"errorCode,omitempty"`
}

// gatewayError is an error of the gateway in front of CCI, which is not in the form of Kubernetes.
type gatewayError struct {
	ErrorCode string `json:"error_code"`
	ErrorMsg  string `json:"error_msg"`
	RequestID string `json:"request_id"`
}

// statusError converts an apimachinery error, and adds CCI's code if one is documented.
func statusError(err error, errorCode string) *apiError {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	out := &apiError{status: int(s.Code), body: codedStatus{Status: s, ErrorCode: errorCode}, message: s.Message}
	if s.Details != nil {
		out.retryAfter = int(s.Details.RetryAfterSeconds)
	}
	return out
}

func badRequest(errorCode, format string, args ...any) *apiError {
	return statusError(apierrors.NewBadRequest(fmt.Sprintf(format, args...)), errorCode)
}

func notFound(res *objects.Resource, name string) *apiError {
	return statusError(apierrors.NewNotFound(res.GroupResource(), name), "")
}

func alreadyExists(res *objects.Resource, name string) *apiError {
	return statusError(apierrors.NewAlreadyExists(res.GroupResource(), name), codeConflict)
}

func conflict(res *objects.Resource, name, format string, args ...any) *apiError {
	return statusError(apierrors.NewConflict(res.GroupResource(), name, fmt.Errorf(format, args...)), codeConflict)
}

// forbidden is an error of the service's admission. The service is known to respond with 403, with no code that was
// ever seen.
func forbidden(res *objects.Resource, name, format string, args ...any) *apiError {
	return statusError(apierrors.NewForbidden(res.GroupResource(), name, fmt.Errorf(format, args...)), "")
}

func invalid(res *objects.Resource, name string, errs field.ErrorList) *apiError {
	return statusError(apierrors.NewInvalid(schema.GroupKind{Group: res.Group, Kind: res.Kind}, name, errs), "")
}

func unknownPath() *apiError {
	return statusError(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}, "")
}

func methodNotAllowed(res *objects.Resource, verb string) *apiError {
	return statusError(apierrors.NewMethodNotSupported(res.GroupResource(), verb), "")
}

func unsupportedMediaType(got, want string) *apiError {
	return statusError(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf(
			"the body of the request was in an unknown format - accepted media types include: %s (got %q)", want, got),
	}}, "")
}

func expired(format string, args ...any) *apiError {
	return statusError(apierrors.NewResourceExpired(fmt.Sprintf(format, args...)), "")
}

// tooLargeResourceVersion is the error of Kubernetes for a list at a version that the store has not reached.
func tooLargeResourceVersion(requested, current uint64) *apiError {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", requested, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return statusError(err, "")
}

// codedError is a Status with the reason that belongs to its HTTP status.
func codedError(status int, errorCode, message string) *apiError {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden:           metav1.StatusReasonForbidden,
		http.StatusNotFound:            metav1.StatusReasonNotFound,
		http.StatusConflict:            metav1.StatusReasonConflict,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
		http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
		http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	}
	return &apiError{status: status, message: message, body: codedStatus{ErrorCode: errorCode, Status: metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Message: message, Reason: reasons[status], Code: int32(status),
	}}}
}

// refusalOf returns the error of a fault that refuses requests.
func refusalOf(f *faults.Fault) *apiError {
	switch f.Kind {
	case faults.Throttle:
		limit := cmp.Or(f.RatePerSecond, 5)
		err := gateway(http.StatusTooManyRequests, "APIG.0308", fmt.Sprintf(
			"The throttling threshold has been reached: policy user over ratelimit,limit:%g,time:1 second", limit))
		err.retryAfter = max(f.RetryAfterSeconds, 1)
		return err
	case faults.Arrears:
		return codedError(http.StatusForbidden, codeArrears, "the account is in arrears, the operation is forbidden")
	case faults.NoAgency:
		return codedError(http.StatusForbidden, codeNoAgency, "user has no agency to cci")
	case faults.AgencyQuota:
		return badRequest(codeAgencyQuota, "no agency quota found from iam, please enlarge your quota")
	case faults.NotListed:
		return badRequest(codeNotListed, "the tenant is not in the whitelist")
	default:
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		message := cmp.Or(f.Message, "the service is not able to answer: "+http.StatusText(status))
		err := codedError(status, f.ErrorCode, message)
		if f.HTML {
			err.body = htmlPage(message)
		}
		err.retryAfter = f.RetryAfterSeconds
		return err
	}
}

// unpublished is the error of the gateway for an API that it does not know.
func unpublished() *apiError {
	return gateway(http.StatusNotFound, "APIG.0101",
		"The API does not exist or has not been published in the environment")
}

// bare returns the error without the fields by which a client of Kubernetes tells what happened. Only errors that a
// client could take for others have such a form.
func (e *apiError) bare() *apiError {
	body, isStatus := e.body.(codedStatus)
	switch e.status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
	default:
		return e
	}
	if !isStatus {
		return e
	}
	bare := *e
	body.Reason, body.Details = "", nil
	bare.body = body
	return &bare
}

// gateway returns an error of the gateway. The request ID is added when it is sent.
func gateway(status int, code, message string) *apiError {
	return &apiError{status: status, body: gatewayError{ErrorCode: code, ErrorMsg: message}, message: message}
}

// encode returns the status, body and headers of the response.
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

// htmlPage is an error as a web page.
type htmlPage string

// mustEncode encodes values of types that cannot fail to encode.
func mustEncode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Appendf(nil, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":%q}`,
			err.Error())
	}
	return data
}
