// Package leadership decides which of several extenders may answer the scheduler. There are two ways:
//
//   - Election: the extenders elect a leader with a Lease of their own. They run as a service.
//   - Scheduler: the extender runs next to one scheduler and follows the leader election of the schedulers.
//
// The package does not know what the extender answers.
//
// Two processes can believe at the same time that they lead: a process that was suspended and resumes does not know how
// long it was suspended. Therefore the clock is only used to stop a leader that lost its connection as early as
// possible. Whatever must be exact does not depend on clocks. A leader first makes its decision durable, then reads the
// Lease (VerifyTerm), and only then answers. If it still held the Lease, every later leader reads that decision when
// its term begins (Callbacks.Settle). If it did not, it returns an error instead of the answer.
package leadership

import (
	"context"
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// The texts of these errors are part of the Pod's condition. They are constant: every change of the condition makes the
// scheduler retry the Pod.
var (
	// ErrNotLeading means that another extender leads, or that no extender leads yet.
	ErrNotLeading = errors.New("this extender is not the leader")
	// ErrOtherScheduler means that the scheduler that sent the request no longer leads.
	ErrOtherScheduler = errors.New("the scheduler next to this extender is not the leader")
	// ErrNewTerm means that a new term has begun and has settled. A decision of an earlier term must be made again.
	ErrNewTerm = errors.New("the scheduler next to this extender has begun a new term")
	// errStarting is the state before Run.
	errStarting = errors.New("the extender is starting")
)

// settleTimeout bounds how long a term may take to settle: until this process knows the slots of all earlier terms.
const settleTimeout = 10 * time.Second

// Term identifies one period in which one process leads. No two terms are equal. The zero Term means that the process
// does not lead.
type Term struct {
	lease       types.UID
	transitions int32
}

func termOf(lease *coordinationv1.Lease) Term {
	return Term{lease: lease.UID, transitions: ptr.Deref(lease.Spec.LeaseTransitions, 0)}
}

// Callbacks are called by Run of both kinds of leadership.
type Callbacks struct {
	// Settle is called in each term before the first answer about a quota. It returns when this process knows what was
	// made durable in earlier terms. It may block, and is called again after an error.
	Settle func(context.Context) error
	// StartedLeading is called when this process begins to answer. It must not block.
	StartedLeading func()
}
