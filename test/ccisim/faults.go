package ccisim

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FaultKind names a way in which the service can be made to misbehave.
type FaultKind string

// Faults of requests. Path is matched against the request's path and Verb against its verb.
const (
	// Throttle answers 429 with Retry-After in the gateway's words: to the next Times requests, or to those beyond RatePerSecond.
	Throttle FaultKind = "throttle"
	// ServerError answers Status (default 500) with ErrorCode and Message.
	ServerError FaultKind = "serverError"
	// Arrears answers 403 CCI.01.403009: the account owes money.
	Arrears FaultKind = "arrears"
	// NoAgency answers 403 CCI.01.403122: the service was never authorised in the console.
	NoAgency FaultKind = "noAgency"
	// Latency holds the request back for Delay before it is looked at.
	Latency FaultKind = "latency"
	// LoseAnswer does what is asked and then closes the connection without an answer.
	LoseAnswer FaultKind = "loseAnswer"
	// HalfBody closes the connection in the middle of a body; of a stream, in the middle of its next piece.
	HalfBody FaultKind = "halfBody"
	// DuplicateEvents sends each event of a watch twice.
	DuplicateEvents FaultKind = "duplicateEvents"
)

// Faults of the world. Path is matched against the API path of the Pod or network; Verb and Times do not apply.
const (
	// SoldOut finds no node for new Pods: Pending, PodScheduled=False/Unschedulable, a FailedScheduling event.
	SoldOut FaultKind = "soldOut"
	// IPInsufficient turns networks IPInsufficient: new Pods stay Pending.
	IPInsufficient FaultKind = "ipInsufficient"
	// NetworkFailed turns networks Failed, as wrong subnets and security groups do.
	NetworkFailed FaultKind = "networkFailed"
	// ImagePull lets no image be pulled: ErrImagePull, then ImagePullBackOff.
	ImagePull FaultKind = "imagePull"
	// HoldFinalizer keeps deleted Pods from disappearing.
	HoldFinalizer FaultKind = "holdFinalizer"
)

// Fault is one switch. It applies until it is removed, or Times times.
type Fault struct {
	// ID is given by the simulator.
	ID   string    `json:"id,omitempty"`
	Kind FaultKind `json:"kind"`
	// Verb is get, list, watch, create, update, patch, delete or log. Empty is any.
	Verb string `json:"verb,omitempty"`
	// Path is a regular expression found anywhere in the path. Empty is any.
	Path string `json:"path,omitempty"`
	// Times is how often the fault strikes before it removes itself. 0 is for ever.
	Times int `json:"times,omitempty"`

	// Status, ErrorCode and Message shape a ServerError. HTML makes it a page for people, as a firewall before the gateway answers.
	Status    int    `json:"status,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
	Message   string `json:"message,omitempty"`
	HTML      bool   `json:"html,omitempty"`
	// RetryAfterSeconds is the header of a Throttle (default 1) or of a ServerError (default none).
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
	// RatePerSecond, with Burst (default 1), makes a Throttle a rate limit.
	RatePerSecond float64 `json:"ratePerSecond,omitempty"`
	Burst         int     `json:"burst,omitempty"`
	// Delay is a Latency's.
	Delay metav1.Duration `json:"delay,omitzero"`
}

var requestFaults = map[FaultKind]bool{
	Throttle: true, ServerError: true, Arrears: true, NoAgency: true, Latency: true, LoseAnswer: true, HalfBody: true, DuplicateEvents: true,
}

var worldFaults = map[FaultKind]bool{SoldOut: true, IPInsufficient: true, NetworkFailed: true, ImagePull: true, HoldFinalizer: true}

// activeFault is a Fault that can strike.
type activeFault struct {
	Fault
	path    *regexp.Regexp
	limiter *rate.Limiter
}

func newActiveFault(f Fault) (*activeFault, error) {
	var errs []error
	if !requestFaults[f.Kind] && !worldFaults[f.Kind] {
		errs = append(errs, fmt.Errorf("kind: %q is not known; one of %s is right", f.Kind, knownKinds()))
	}
	path, err := regexp.Compile(f.Path)
	if err != nil {
		errs = append(errs, fmt.Errorf("path: %w", err))
	}
	if worldFaults[f.Kind] && (f.Verb != "" || f.Times != 0) {
		errs = append(errs, fmt.Errorf("verb and times do not apply to %s: it lasts until it is removed", f.Kind))
	}
	if f.Times < 0 {
		errs = append(errs, fmt.Errorf("times: %d is negative; 0 (for ever) or more is right", f.Times))
	}
	if f.Kind == Latency && f.Delay.Duration <= 0 {
		errs = append(errs, fmt.Errorf("delay: %s does nothing; a positive duration is right", f.Delay.Duration))
	}
	if f.Kind == ServerError && f.Status != 0 && (f.Status < 400 || f.Status > 599) {
		errs = append(errs, fmt.Errorf("status: %d is not an error; 400 to 599 is right", f.Status))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("fault: %w", errors.Join(errs...))
	}
	active := &activeFault{Fault: f, path: path}
	if f.RatePerSecond > 0 {
		active.limiter = rate.NewLimiter(rate.Limit(f.RatePerSecond), max(f.Burst, 1))
	}
	return active, nil
}

func knownKinds() string {
	var out []string
	for _, kinds := range []map[FaultKind]bool{requestFaults, worldFaults} {
		for kind := range kinds {
			out = append(out, string(kind))
		}
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

func (f *activeFault) matches(verb, path string) bool {
	return (f.Verb == "" || f.Verb == verb) && f.path.MatchString(path)
}

// refusal is what a request gets that the fault has struck, nil for faults that do not refuse.
func (f *activeFault) refusal() *apiError {
	switch f.Kind {
	case Throttle:
		limit := f.RatePerSecond
		if limit == 0 {
			limit = 5
		}
		err := gateway(http.StatusTooManyRequests, "APIG.0308",
			fmt.Sprintf("The throttling threshold has been reached: policy user over ratelimit,limit:%g,time:1 second", limit))
		err.retryAfter = max(f.RetryAfterSeconds, 1)
		return err
	case ServerError:
		return f.serverError()
	case Arrears:
		return codedError(http.StatusForbidden, codeArrears, "the account is in arrears, the operation is forbidden")
	case NoAgency:
		return codedError(http.StatusForbidden, codeNoAgency, "user has no agency to cci")
	default:
		return nil
	}
}

func (f *activeFault) serverError() *apiError {
	status, message := f.Status, f.Message
	setDefault(&status, http.StatusInternalServerError)
	setDefault(&message, "the service is not able to answer: "+http.StatusText(status))
	err := codedError(status, f.ErrorCode, message)
	if f.HTML {
		err.body = htmlPage(message)
	}
	err.retryAfter = f.RetryAfterSeconds
	return err
}

// codedError is a Status with the reason that belongs to its HTTP status.
func codedError(status int, errorCode, message string) *apiError {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable, http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
		http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
	}
	return &apiError{status: status, words: message, body: codedStatus{ErrorCode: errorCode, Status: metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Message: message, Reason: reasons[status], Code: int32(status),
	}}}
}

// idNumber orders faults by age.
func idNumber(id string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(id, "fault-"))
	if err != nil {
		return 0
	}
	return n
}

// delayUntilDone waits in real time, because a slow answer is slow for the caller, or until done.
func delayUntilDone(d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}
