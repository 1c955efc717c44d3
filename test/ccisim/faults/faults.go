package faults

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kind names a way in which the service misbehaves.
type Kind string

// Faults of requests. Path is matched against the request's path, and Verb against its verb.
const (
	// Throttle responds with 429, Retry-After and the gateway's message: to the next Times requests, or to those beyond
	// RatePerSecond.
	Throttle Kind = "throttle"
	// ServerError responds with Status (default 500), ErrorCode and Message.
	ServerError Kind = "serverError"
	// Arrears responds with 403 CCI.01.403009: the account owes money.
	Arrears Kind = "arrears"
	// NoAgency responds with 403 CCI.01.403122: the service was never authorized in the console.
	NoAgency Kind = "noAgency"
	// AgencyQuota responds with 400 CCI.01.400104: the account has no quota for the agency of the service.
	AgencyQuota Kind = "agencyQuota"
	// NotListed responds with 400 CCI.02.400102: the account is not on the list of those that may use the service.
	NotListed Kind = "notListed"
	// Latency delays the request by Delay before it is processed.
	Latency Kind = "latency"
	// LoseAnswer processes the request and then closes the connection without a response.
	LoseAnswer Kind = "loseAnswer"
	// HalfBody closes the connection in the middle of a body. In a stream, it does so in the middle of the next piece.
	HalfBody Kind = "halfBody"
	// DuplicateEvents sends each event of a watch twice.
	DuplicateEvents Kind = "duplicateEvents"
)

// Faults of the cloud. Path is matched against the API path of the Pod or network. Verb and Times do not apply.
const (
	// SoldOut finds no node for new Pods: they are Pending, with PodScheduled=False/Unschedulable and a FailedScheduling
	// Event.
	SoldOut Kind = "soldOut"
	// IPInsufficient sets networks to IPInsufficient. New Pods stay Pending.
	IPInsufficient Kind = "ipInsufficient"
	// NetworkFailed sets networks to Failed, as a wrong subnet or security group does.
	NetworkFailed Kind = "networkFailed"
	// ImagePull makes every image pull fail: ErrImagePull, then ImagePullBackOff.
	ImagePull Kind = "imagePull"
	// HoldFinalizer keeps the finalizer on deleted Pods, so that they do not disappear.
	HoldFinalizer Kind = "holdFinalizer"
	// Quota refuses new Pods beyond Hard: in CCI 2.0 of the account, in CCI 1.0 of each namespace. The policy QuotaErrors
	// says how. Pods that have ended do not count.
	Quota Kind = "quota"
)

// Fault is one injected fault. It applies until it is removed, or Times times.
type Fault struct {
	// ID is set by the simulator.
	ID   string `json:"id,omitempty"`
	Kind Kind   `json:"kind"`
	// Verb is get, list, watch, create, update, patch, delete or log. Empty matches any verb.
	Verb string `json:"verb,omitempty"`
	// Path is a regular expression that is searched for in the path. Empty matches any path.
	Path string `json:"path,omitempty"`
	// Times is how often the fault applies before it removes itself. 0 means no limit.
	Times int `json:"times,omitempty"`

	// Status, ErrorCode and Message belong to a ServerError. HTML makes it a web page, as a firewall in front of the
	// gateway sends.
	Status    int    `json:"status,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
	Message   string `json:"message,omitempty"`
	HTML      bool   `json:"html,omitempty"`
	// RetryAfterSeconds is the header of a Throttle (default 1) or of a ServerError (default none).
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
	// RatePerSecond, with Burst (default 1), makes a Throttle a rate limit.
	RatePerSecond float64 `json:"ratePerSecond,omitempty"`
	Burst         int     `json:"burst,omitempty"`
	// Hard belongs to a Quota: what Pods may use together of pods, cpu and memory.
	Hard corev1.ResourceList `json:"hard,omitempty"`
	// Delay belongs to a Latency.
	Delay metav1.Duration `json:"delay,omitzero"`
}

// refusingKinds respond to a request with an error.
var refusingKinds = []Kind{Throttle, ServerError, Arrears, NoAgency, AgencyQuota, NotListed}

var requestKinds = append([]Kind{Latency, LoseAnswer, HalfBody, DuplicateEvents}, refusingKinds...)

var cloudKinds = []Kind{SoldOut, IPInsufficient, NetworkFailed, ImagePull, HoldFinalizer, Quota}

// quotaResources are what a Quota may limit.
var quotaResources = []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory}

// activeFault is a Fault that can be applied.
type activeFault struct {
	Fault
	path    *regexp.Regexp
	limiter *rate.Limiter
}

func newActiveFault(f Fault) (*activeFault, error) {
	var errs []error
	ofRequests, ofCloud := slices.Contains(requestKinds, f.Kind), slices.Contains(cloudKinds, f.Kind)
	if !ofRequests && !ofCloud {
		errs = append(errs, fmt.Errorf("kind: invalid value %q: must be one of %s", f.Kind, knownKinds()))
	}
	path, err := regexp.Compile(f.Path)
	if err != nil {
		errs = append(errs, fmt.Errorf("path: %w", err))
	}
	if ofCloud && (f.Verb != "" || f.Times != 0) {
		errs = append(errs, fmt.Errorf("verb and times do not apply to %s: it lasts until it is removed", f.Kind))
	}
	if f.Times < 0 {
		errs = append(errs, fmt.Errorf("times: invalid value %d: must be 0 (no limit) or more", f.Times))
	}
	if (f.Kind == Quota) != (len(f.Hard) > 0) {
		errs = append(errs, fmt.Errorf("hard: invalid value %v: must be given for %s, and for no other kind", f.Hard, Quota))
	}
	for name := range f.Hard {
		if !slices.Contains(quotaResources, name) {
			errs = append(errs, fmt.Errorf("hard: invalid value %q: must be one of %v", name, quotaResources))
		}
	}
	if f.Kind == Latency && f.Delay.Duration <= 0 {
		errs = append(errs, fmt.Errorf("delay: invalid value %s: must be above zero", f.Delay.Duration))
	}
	if f.Kind == ServerError && f.Status != 0 && (f.Status < 400 || f.Status > 599) {
		errs = append(errs, fmt.Errorf("status: invalid value %d: must be an error from 400 to 599", f.Status))
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
	for _, kind := range slices.Concat(requestKinds, cloudKinds) {
		out = append(out, string(kind))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (f *activeFault) matches(verb, path string) bool {
	return (f.Verb == "" || f.Verb == verb) && f.path.MatchString(path)
}

// refuses reports whether the fault responds to a request with an error now. A rate limit uses up one of its tokens.
func (f *activeFault) refuses() bool {
	return slices.Contains(refusingKinds, f.Kind) && (f.limiter == nil || !f.limiter.Allow())
}

// idNumber orders faults by age.
func idNumber(id string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(id, "fault-"))
	if err != nil {
		return 0
	}
	return n
}
