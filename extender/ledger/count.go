package ledger

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// change changes an entry and keeps both invariants.
func (l *Ledger) change(e *entry, apply func()) {
	cloud := l.cloudUse(e)
	apply()
	if e.waitsForCloud != nil {
		e.account.queue.move(e.waitsForCloud, missing(e))
	}
	if l.countReplica(e) && l.asking != e {
		l.requeueForShares(e.revision)
	}
	if after := l.cloudUse(e); after != cloud {
		e.account.used = e.account.used.Minus(cloud).Plus(after)
		if w := l.workloads[e.workload]; w != nil {
			w.used = w.used.Minus(cloud).Plus(after)
		}
		if l.asking != e { // Also if more is used: a smaller Pod may fit instead of one that was requeued.
			l.requeueForCloud(e.account)
		}
	}
}

// standing says as what an entry counts in its revision.
type standing struct {
	active   bool // it is a replica
	holds    bool // it holds a local slot
	inCloud  bool // it is on a virtual node
	bursting bool // it has a cloud slot and is not bound
}

// standingOf returns as what an entry must count.
func (l *Ledger) standingOf(e *entry) standing {
	if !e.active {
		return standing{}
	}
	return standing{
		active: true, holds: l.isLocal(e) || e.node == "" && e.local.reserved,
		inCloud: e.node != "" && l.nodes.IsVirtual(e.node), bursting: e.node == "" && e.cloud.reserved,
	}
}

// countReplica counts an entry in its revision as what it is now, and reports whether that changes a count.
func (l *Ledger) countReplica(e *entry) bool { return e.count(l.standingOf(e)) }

func (e *entry) count(after standing) bool {
	before, rev := e.standing, e.revision
	if before == after {
		return false
	}
	e.standing = after
	rev.active += difference(before.active, after.active)
	rev.inCloud += difference(before.inCloud, after.inCloud)
	rev.bursting += difference(before.bursting, after.bursting)
	switch {
	case after.holds && !before.holds:
		rev.hold(e)
	case before.holds && !after.holds:
		rev.release(e)
	}
	if e.claims != nil {
		rev.claims.hold(e.claims, after.holds)
	}
	return true
}

// difference returns what a count changes by.
func difference(before, after bool) int {
	switch {
	case before == after:
		return 0
	case after:
		return 1
	default:
		return -1
	}
}

// used returns how many local slots are used.
func (r *revision) used() int { return len(r.holders) }

// cloudUsed returns how many replicas count towards the cloud share.
func (r *revision) cloudUsed() int { return r.inCloud + r.bursting }

// hold adds an entry to the holders.
func (r *revision) hold(e *entry) {
	e.holder = len(r.holders)
	r.holders = append(r.holders, e)
}

// release removes an entry from the holders. The last one gets its position.
func (r *revision) release(e *entry) {
	end := len(r.holders) - 1
	last := r.holders[end]
	r.holders[e.holder], last.holder = last, e.holder
	r.holders[end] = nil
	r.holders = r.holders[:end]
}

// cloudUse returns what the entry holds of the limits of its namespace.
func (l *Ledger) cloudUse(e *entry) policy.CloudUse {
	reserved := e.node == "" && e.active && e.cloud.reserved
	running := e.node != "" && !e.ended && l.nodes.IsVirtual(e.node)
	if reserved || running {
		return e.use
	}
	return policy.CloudUse{}
}

// isLocal reports whether the Pod is active on a local node.
func (l *Ledger) isLocal(e *entry) bool { return e.active && e.node != "" && l.nodes.IsLocal(e.node) }

// missing returns what the entry needs in addition to what it holds.
func missing(e *entry) policy.CloudUse { return e.cloud.missing(e.use) }

// missing returns what of a use the slot does not hold.
func (s slot) missing(use policy.CloudUse) policy.CloudUse {
	if s.reserved {
		return policy.CloudUse{}
	}
	return use
}

// measure sets what a Pod uses in the cloud. While it has a slot, that is what the slot is for, and more if the Pod has
// grown since: users can change what determines the size, but not what the cloud bills already. So a Pod on a virtual
// node never counts less than before, also without a slot: it may have been bound before its namespace had limits.
func (l *Ledger) measure(e *entry, pod *corev1.Pod) {
	use := l.billing.Use(pod)
	if s, ok := policy.CloudSlotOf(pod); ok {
		e.granted = policy.CloudUse{Pods: 1, Flavor: s.Flavor}
	}
	use = use.Max(e.granted)
	if e.node != "" && l.nodes.IsVirtual(e.node) {
		use = use.Max(e.use)
	}
	if use == e.use {
		return
	}
	l.change(e, func() { e.use = use })
	if e.waitsForCloud != nil {
		l.requeueForCloud(e.account) // It may fit now.
	}
}

// hasLocalSlot reports whether an extender, this one or an earlier one, has reserved a local slot for a Pod.
func hasLocalSlot(pod *corev1.Pod) bool {
	return pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID)
}

// hasCloudSlot reports the same for a cloud slot.
func hasCloudSlot(pod *corev1.Pod) bool {
	_, ok := policy.CloudSlotOf(pod)
	return ok
}

// Recount must be called after the class of a node has changed.
func (l *Ledger) Recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rev := range l.revisions {
		clear(rev.holders)
		rev.holders, rev.inCloud, rev.bursting = rev.holders[:0], 0, 0
	}
	for _, a := range l.accounts {
		a.used = policy.CloudUse{}
	}
	for _, w := range l.workloads {
		w.used = policy.CloudUse{}
	}
	clear(l.local)
	for _, e := range l.pods {
		e.standing = standing{active: e.standing.active}
		l.countReplica(e)
		if l.isLocal(e) {
			l.local[e.priority]++
		}
		e.account.used = e.account.used.Plus(l.cloudUse(e))
		w := l.workloads[e.workload]
		w.used = w.used.Plus(l.cloudUse(e))
	}
	l.requeueQueues(false)
}

// Stats are the numbers for metrics. Revisions is the number of those with shares, Reserved that of the local slots of
// Pods that are not bound, and Waiting that of the Pods that wait because of their shares.
type Stats struct {
	Pods, Revisions, Reserved, Waiting, Parked int
	// Accounts are the namespaces that have limits.
	Accounts []Account
	// Workloads are those that have a quota or use the cloud, a bounded number.
	Workloads []WorkloadStats
}

// Account is the account of one namespace.
type Account struct {
	Namespace string
	Used      policy.CloudUse
	Limits    policy.CloudLimits
	// Waiting is how many Pods wait for a cloud slot.
	Waiting int
}

// Stats returns the current numbers. It takes time in proportion to the number of Pods.
func (l *Ledger) Stats() Stats {
	s, workloads := l.count()
	s.Workloads = bounded(workloads, maxWorkloads) // Reserve need not wait until they are sorted.
	return s
}

func (l *Ledger) count() (Stats, map[Workload]WorkloadStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Pods: len(l.pods)}
	for _, rev := range l.revisions {
		if !rev.shares.IsZero() {
			s.Revisions++
		}
	}
	for _, e := range l.pods {
		if e.local.reserved && e.active {
			s.Reserved++
		}
		if e.waitsForShares() {
			s.Waiting++
		}
		if e.parked {
			s.Parked++
		}
	}
	for a := range maps.Values(l.accounts) {
		if limits := l.billing.Limits(a.namespace); !limits.IsZero() {
			s.Accounts = append(s.Accounts, Account{a.namespace, a.used, limits, a.queue.len})
		}
	}
	slices.SortFunc(s.Accounts, func(a, b Account) int { return strings.Compare(a.Namespace, b.Namespace) })
	return s, l.workloadStats()
}
