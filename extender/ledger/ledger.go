// Package ledger keeps exact counts: how many replicas of each revision are on local nodes and in the cloud, for its
// shares, and what the Pods of each namespace use in the cloud, for its limits. All count the Pods that are bound, plus
// the slots that are reserved for Pods whose binding has not been seen yet.
//
// The ledger is the store of a Reflector that watches all Pods. It only decides whether a slot is free. It does no I/O
// and does not know HTTP. All methods are safe for concurrent use.
//
// Invariants for each revision, of which every active Pod counts, with and without shares: used = its active Pods that
// are bound to a local node + its active unbound Pods with a local slot. In the cloud = its active Pods that are bound
// to a virtual node + its active unbound Pods with a cloud slot. Invariant for each namespace: used = the sum of its
// Pods that are bound to a virtual node and have neither Succeeded nor Failed + its active unbound Pods with a cloud
// slot. A Pod that is terminating holds no local slot, but the cloud bills it until it is gone: users choose its grace
// period.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/slowcall"
	"github.com/spillway-k8s/spillway/policy"
)

// PodRef identifies one Pod. A later Pod with the same name has another PodRef.
type PodRef struct {
	types.NamespacedName
	UID types.UID
}

// RefOf returns the PodRef of a Pod.
func RefOf(pod *corev1.Pod) PodRef {
	return PodRef{types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, pod.UID}
}

// Ledger counts slots. Create one with New.
type Ledger struct {
	nodes   Nodes
	billing Billing
	requeue func(PodRef)

	mu        sync.Mutex
	pods      map[types.UID]*entry
	revisions map[policy.Revision]*revision
	accounts  map[string]*account // by namespace
	deadlines deadlines
	// asking is the Pod that Reserve decides about; nil otherwise. Its queues are read again when it is decided.
	asking *entry
	// sooner tells RunDeadlines that the next deadline has changed.
	sooner    chan struct{}
	workloads map[Workload]*workload
	loads     map[string]int
	local     map[int32]int // active Pods on local nodes, by priority
	version   uint64
	synced    bool
	// advanced notifies callers of WaitFor when version grows.
	advanced *slowcall.Events[struct{}]
}

// entry is the state of one Pod.
type entry struct {
	ref      PodRef
	revision *revision
	account  *account
	workload Workload
	// use is what the Pod uses in the cloud, wherever it is now, and granted is what its cloud slot is for.
	use, granted policy.CloudUse
	node         string // empty while the Pod is unbound
	priority     int32
	active       bool
	ended        bool // has Succeeded, has Failed or is deleted: the cloud no longer bills it
	local        slot
	cloud        slot
	standing     standing // as what it is counted in its revision
	holder       int      // its position among the holders of its revision
	refused      bool     // the Pod's condition says that the extender refused it
	parked       bool     // refused by policy
	undecided    bool     // the scheduler's last question about preemption had no answer (PreemptEnded)
	// The Pod may wait for a local slot, for the cloud share of its revision and for the limits of its namespace at the
	// same time, or else claim a place on local nodes. nil if it does not.
	waitsForLocal *ticket[policy.Shares]
	waitsForShare *ticket[policy.Shares]
	waitsForCloud *ticket[policy.CloudUse]
	claims        *ticket[claim]
	// deadline is when the Pod is requeued in any case; nil if it is not.
	deadline *deadline
}

// slot is a right that a Pod has before its binding is seen.
type slot struct {
	reserved  bool
	confirmed bool // this process has reported the slot to the scheduler in the current term (Confirm)
	revoked   bool // the slot on the Pod was never reported to the scheduler (situation.revoked)
}

// revision counts the replicas of one revision.
type revision struct {
	key      policy.Revision
	pods     int      // entries that refer to it
	active   int      // those of them that are active: the replicas
	inCloud  int      // those of the active ones that are on virtual nodes
	bursting int      // those of the active ones that are not bound and have a cloud slot
	holders  []*entry // those of the active ones that hold a local slot, in no order
	// shares are those of the Pod that was seen last. They are for metrics: a request has the shares that count.
	shares   policy.Shares
	workload Workload
	// slots holds the Pods that wait for a local slot, and share those that wait for the cloud share, by their shares.
	slots, share queue[policy.Shares]
	claims       claims
}

// account is what the Pods of one namespace use in the cloud.
type account struct {
	namespace string
	pods      int // entries that refer to it
	used      policy.CloudUse
	// inherited is what the namespace said about the shares of its Pods when the last of them was refused.
	inherited string
	// queue holds the Pods that wait for a cloud slot, by what they need in addition to what they hold.
	queue queue[policy.CloudUse]
}

// Billing says what is counted in the cloud.
type Billing interface {
	// Use returns what a Pod uses in the cloud.
	Use(*corev1.Pod) policy.CloudUse
	// Limits returns what the Pods of a namespace may use together. It is called with the ledger locked, and must not
	// block.
	Limits(namespace string) policy.CloudLimits
	// Annotations returns those of a namespace, nil while they are not known. It is called as Limits is.
	Annotations(namespace string) map[string]string
}

// Nodes says of which class a node is. Some are neither local nor virtual.
type Nodes interface {
	// IsLocal reports whether a node is local. An unknown node counts as local.
	IsLocal(node string) bool
	// IsVirtual reports whether a node is a virtual node of Spillway.
	IsVirtual(node string) bool
}

// New returns an empty Ledger. requeue is called, with the ledger locked, for a Pod that was refused and may now be
// scheduled. It must not block.
func New(nodes Nodes, billing Billing, requeue func(PodRef)) *Ledger {
	return &Ledger{
		nodes:     nodes,
		billing:   billing,
		requeue:   requeue,
		pods:      map[types.UID]*entry{},
		revisions: map[policy.Revision]*revision{},
		accounts:  map[string]*account{},
		workloads: map[Workload]*workload{},
		loads:     map[string]int{},
		local:     map[int32]int{},
		sooner:    make(chan struct{}, 1),
		advanced:  slowcall.NewEvents[struct{}](),
	}
}

// Load returns how many active Pods are bound to a node.
func (l *Ledger) Load(node string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loads[node]
}

// HasLocalBelow reports whether an active Pod of a lower priority is on a local node: preemption may make room there.
func (l *Ledger) HasLocalBelow(priority int32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.local {
		if other < priority {
			return true
		}
	}
	return false
}

// waitingForWatch introduces the errors of WaitFor. They name no versions: they are part of the Pod's condition, and a
// text that changes costs one write for each attempt.
const waitingForWatch = "waiting for the watch of Pods to reach the version that the scheduler has seen"

// errStalled is what WaitFor returns while the watch is stalled.
var errStalled = errors.New(waitingForWatch + ": the watch has stalled")

// WaitFor blocks until the ledger has seen the cluster as of a resource version. It returns an error if ctx ends
// before. A Pod that the scheduler sends with that version is then known here, and so is everything that happened
// before.
//
// If a call has reached its deadline without any event in between, the watch has stalled: until the next event, later
// calls return an error at once. The scheduler handles one Pod at a time, so all other Pods wait for each call. A
// stalled watch must cost them one timeout, and not one timeout for each Pod that has a quota.
func (l *Ledger) WaitFor(ctx context.Context, resourceVersion string) error {
	want, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("metadata.resourceVersion: invalid value %q: must be a number", resourceVersion)
	}
	err = l.advanced.Wait(ctx, func() (struct{}, bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return struct{}{}, l.synced && l.version >= want
	})
	switch {
	case errors.Is(err, slowcall.ErrStalled):
		return errStalled
	case err != nil:
		return fmt.Errorf(waitingForWatch+": %w", err)
	}
	return nil
}

// Synced reports whether the ledger has been filled.
func (l *Ledger) Synced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}
