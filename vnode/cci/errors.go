package cci

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Kind is what a caller can do about an error.
type Kind string

const (
	// NotFound: the object is not there.
	NotFound Kind = "NotFound"
	// AlreadyExists: the name is taken. Look who has it.
	AlreadyExists Kind = "AlreadyExists"
	// Conflict: the object is another one, or in another state, than the caller believed.
	Conflict Kind = "Conflict"
	// Expired: a resourceVersion or a page's continuation is too old. Start again from a list.
	Expired Kind = "Expired"
	// Throttled: too many requests. Wait for RetryAfter.
	Throttled Kind = "Throttled"
	// Denied: key, permission, agency or account. Nothing helps until an operator acts; every other call fails the same way.
	Denied Kind = "Denied"
	// Permanent: this request will never be accepted.
	Permanent Kind = "Permanent"
	// Transient: no answer, or an error of the service. The request may have been carried out. Try again later.
	Transient Kind = "Transient"
)

// Error is what the service answered, or why there is no answer.
type Error struct {
	Kind Kind
	// Status is the HTTP status, 0 without an answer.
	Status int
	// Code is the service's own code, such as CCI.01.403122 or APIG.0308; often empty.
	Code string
	// Message is in the service's words.
	Message string
	// RequestID finds the request in the service's own logs; empty without an answer.
	RequestID string
	// After is how long the service wants to be left alone; 0 where it did not say.
	After time.Duration

	cause error
	// unsent says that the request was never sent: it is of no use to repeat it at once.
	unsent bool
}

// Error gives words for people, the same for every occurrence of the same fault, with what can be done about it where that is known.
func (e *Error) Error() string {
	text := fmt.Sprintf("the cloud answered %d: %s", e.Status, e.Message)
	switch {
	case e.Status == 0 && e.cause != nil:
		return fmt.Sprintf("%s: %v", e.Message, e.cause)
	case e.Status == 0:
		return e.Message
	case e.Code != "":
		text = fmt.Sprintf("the cloud answered %d %s: %s", e.Status, e.Code, e.Message)
	}
	if advice := e.advice(); advice != "" {
		text += " (" + advice + ")"
	}
	return text
}

// Unwrap is the error of the connection, nil where there was an answer.
func (e *Error) Unwrap() error { return e.cause }

// KindOf tells the kind of an error of this package, however it is wrapped. It is empty for other errors, such as that of a
// context that ended.
func KindOf(err error) Kind {
	if found, ok := errors.AsType[*Error](err); ok {
		return found.Kind
	}
	return ""
}

// IsNotFound tells whether the object is not there.
func IsNotFound(err error) bool { return KindOf(err) == NotFound }

// IsTaken tells whether the name of a new object is taken: what the service answers is either of two.
func IsTaken(err error) bool { return KindOf(err) == AlreadyExists || KindOf(err) == Conflict }

// IsConflict tells whether the object is another one than the caller meant.
func IsConflict(err error) bool { return KindOf(err) == Conflict }

// IsExpired tells whether the caller must list again.
func IsExpired(err error) bool { return KindOf(err) == Expired }

// IsThrottled tells whether the caller was too quick.
func IsThrottled(err error) bool { return KindOf(err) == Throttled }

// IsDenied tells whether an operator must act first.
func IsDenied(err error) bool { return KindOf(err) == Denied }

// IsPermanent tells whether the same request will never be accepted.
func IsPermanent(err error) bool { return KindOf(err) == Permanent }

// IsTransient tells whether the same request may be accepted later.
func IsTransient(err error) bool { return KindOf(err) == Transient }

// RetryAfter is how long the service wants to be left alone; 0 where it did not say.
func RetryAfter(err error) time.Duration {
	if found, ok := errors.AsType[*Error](err); ok {
		return found.After
	}
	return 0
}

// statusOf is the HTTP status of an error of this package, 0 without an answer.
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

// noAnswer makes the error of a request that got none. The end of the caller's own context is no fault of the service.
func noAnswer(ctx context.Context, message string, cause error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", message, ctx.Err())
	}
	if request, ok := errors.AsType[*url.Error](cause); ok {
		cause = request.Err // Without the method and the address, which the message says in other words.
	}
	return &Error{Kind: Transient, Message: message, cause: cause}
}
