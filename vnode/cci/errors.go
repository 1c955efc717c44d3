package cci

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// Kind classifies an error by what the caller can do about it.
type Kind string

const (
	// NotFound means that the object does not exist. The service said so, or its list does not contain the object.
	NotFound Kind = "NotFound"
	// AlreadyExists means that the name is taken. The caller reads the object to find out who owns it.
	AlreadyExists Kind = "AlreadyExists"
	// Conflict means that the object is another one, or in another state, than the caller expected.
	Conflict Kind = "Conflict"
	// Expired means that a resourceVersion or a continue token is too old. The caller lists again from the start.
	Expired Kind = "Expired"
	// Throttled means that there were too many requests. The caller waits for RetryAfter.
	Throttled Kind = "Throttled"
	// NotOffered means that there is no such API at the endpoint. Either this region does not offer it, or the endpoint or
	// the generation of CCI is wrong. It says nothing about objects. Error.Feature tells optional APIs from the others.
	NotOffered Kind = "NotOffered"
	// Denied means that the access key, a permission, the agency or the account is not accepted. Every other request fails
	// in the same way until an operator acts.
	Denied Kind = "Denied"
	// QuotaExceeded means that a quota of the account or of the cloud namespace has no room for a new object. The caller
	// tries again when other objects are gone, or later: an operator may get a larger quota.
	QuotaExceeded Kind = "QuotaExceeded"
	// Permanent means that this request will never be accepted.
	Permanent Kind = "Permanent"
	// Transient means that there was no answer, or an internal error of the service. The request may have been executed.
	// The caller retries later.
	Transient Kind = "Transient"
)

// Feature is a part of the API that the regions may lack. Without it a virtual node does less, and runs Pods all the
// same.
type Feature string

// The features.
const (
	// Events are the Events of cloud Pods.
	Events Feature = "Events of Pods"
	// Volumes are PersistentVolumes and PersistentVolumeClaims.
	Volumes Feature = "volumes and claims"
	// Logs are the logs of containers.
	Logs Feature = "logs of containers"
	// Exec are commands in containers.
	Exec Feature = "commands in containers"
	// Snapshots are snapshots of images, from which Pods start.
	Snapshots Feature = "image snapshots"
	// Quotas are the quotas of namespaces.
	Quotas Feature = "quotas of namespaces"
)

// Error is an error response of the service, or the reason why there was no response.
type Error struct {
	Kind Kind
	// Status is the HTTP status, 0 if there was no response.
	Status int
	// Code is the error code of the service, such as CCI.01.403122 or APIG.0308. It is often empty.
	Code string
	// Message is the text of the service.
	Message string
	// RequestID identifies the request in the logs of the service. It is empty if there was no response.
	RequestID string
	// After is the delay of the header Retry-After. It is 0 if there was none.
	After time.Duration
	// Feature is what the region lacks if the Kind is NotOffered and the API is optional. Otherwise it is empty.
	Feature Feature
	// Inferred means that the Kind is NotOffered because of a 404 that does not say so: it has come from the gateway or
	// the API server of a region that lacks the API, or from a proxy of one that has it.
	Inferred bool

	// api is the API that is NotOffered: the endpoint and the generation of CCI.
	api   string
	cause error
	// unsent means that the request was never sent, so that an immediate retry cannot succeed.
	unsent bool
	// unexplained means that the response is a 404 that does not say what was not found.
	unexplained bool
}

// Error returns a message for people, with a hint on what to do if there is one. The message is the same for every
// occurrence of the same error.
func (e *Error) Error() string {
	text := fmt.Sprintf("the cloud answered %d: %s", e.Status, e.Message)
	switch {
	case e.Status == 0 && e.cause != nil:
		return policy.Clip(fmt.Sprintf("%s: %v", e.Message, e.cause), policy.MaxMessage)
	case e.Status == 0:
		return e.Message
	case e.Code != "":
		text = fmt.Sprintf("the cloud answered %d %s: %s", e.Status, e.Code, e.Message)
	}
	if hint := e.hint(); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// Unwrap returns the error of the connection, nil if there was a response.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of an error of this package, however it is wrapped. It is empty for all other errors, such
// as that of a context that ended.
func KindOf(err error) Kind {
	if found, ok := errors.AsType[*Error](err); ok {
		return found.Kind
	}
	return ""
}

// IsNotFound reports whether the object does not exist.
func IsNotFound(err error) bool { return KindOf(err) == NotFound }

// IsNotOffered reports whether there is no such API at the endpoint.
func IsNotOffered(err error) bool { return KindOf(err) == NotOffered }

// IsProvenNotOffered reports whether the service has said that there is no such API at the endpoint. What would destroy
// something needs this proof: see Error.Inferred.
func IsProvenNotOffered(err error) bool {
	found, ok := errors.AsType[*Error](err)
	return ok && found.Kind == NotOffered && !found.Inferred
}

// IsTaken reports whether the name of a new object is taken. The service answers with either of two kinds.
func IsTaken(err error) bool { return KindOf(err) == AlreadyExists || KindOf(err) == Conflict }

// IsConflict reports whether the object is another one than the caller expected.
func IsConflict(err error) bool { return KindOf(err) == Conflict }

// IsExpired reports whether the caller must list again.
func IsExpired(err error) bool { return KindOf(err) == Expired }

// IsThrottled reports whether the caller sent too many requests.
func IsThrottled(err error) bool { return KindOf(err) == Throttled }

// IsDenied reports whether an operator must act first.
func IsDenied(err error) bool { return KindOf(err) == Denied }

// IsQuotaExceeded reports whether a quota has no room for a new object.
func IsQuotaExceeded(err error) bool { return KindOf(err) == QuotaExceeded }

// IsRefused reports whether the service does not accept a new object as it is, or has no room for it.
func IsRefused(err error) bool { return IsPermanent(err) || IsQuotaExceeded(err) }

// IsPermanent reports whether the same request will never be accepted.
func IsPermanent(err error) bool { return KindOf(err) == Permanent }

// IsTransient reports whether the same request may be accepted later.
func IsTransient(err error) bool { return KindOf(err) == Transient }

// RetryAfter returns the delay of the header Retry-After, 0 if there was none.
func RetryAfter(err error) time.Duration {
	if found, ok := errors.AsType[*Error](err); ok {
		return found.After
	}
	return 0
}

// statusOf returns the HTTP status of an error of this package, 0 if there was no response.
func statusOf(err error) int {
	if found, ok := errors.AsType[*Error](err); ok {
		return found.Status
	}
	return 0
}

func isUnsent(err error) bool {
	found, ok := errors.AsType[*Error](err)
	return ok && found.unsent
}

// noAnswer returns the error of a request without a response. If the caller's own context has ended, the error is that
// of the context: the service has not failed.
func noAnswer(ctx context.Context, message string, cause error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", message, ctx.Err())
	}
	if request, ok := errors.AsType[*url.Error](cause); ok {
		cause = request.Err // Without the method and the URL, which the message already describes.
	}
	return &Error{Kind: Transient, Message: message, cause: cause}
}
