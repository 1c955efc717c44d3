package ledger

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Sight is what a decision about a Pod depends on, as the ledger had it at one moment. It is a copy: it reserves
// nothing, and stays as it is while the ledger changes.
type Sight struct {
	// Known says that the ledger has the Pod. Otherwise the counts of its revision and of its namespace are in Sight.
	Known bool
	// Local are the slots of its revision.
	Local LocalSlots
	// Cloud is what its namespace uses in the cloud.
	Cloud CloudAccount

	active    bool
	situation situation
}

// LocalSlots are the local slots of a revision.
type LocalSlots struct {
	// Used is how many Pods hold a slot. InCloud of the other active Pods are on virtual nodes, and Waiting are not
	// bound. Together they are all active Pods of the revision.
	Used, InCloud, Waiting int
	// Bursting is how many active Pods are not bound and have a cloud slot: they count towards the cloud share too.
	Bursting int
	// Held says that the Pod itself holds a slot.
	Held bool
	// Holders are Pods that hold a slot, by name, as many as Look was asked for at most. All are of the namespace of
	// the Pod, because a revision is.
	Holders []Holder
}

// Holder is a Pod that holds a local slot. Node is empty while it is not bound.
type Holder struct{ Name, Node string }

// CloudAccount is what the Pods of a namespace use in the cloud.
type CloudAccount struct {
	Used policy.CloudUse
	// Held says that the Pod itself has a cloud slot, which Used contains, or is on a virtual node.
	Held bool
}

// Look returns what a decision about a Pod depends on now, with at most as many holders as most, and changes nothing.
// The ledger need not have the Pod: a Pod that does not exist yet is decided by the counts of its revision and its
// namespace. It takes the same time for any number of Pods.
func (l *Ledger) Look(pod *corev1.Pod, most int) Sight {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The UID of another Pod must not make its revision that of this one.
	if e, ok := l.pods[pod.UID]; ok && e.ref.Namespace == pod.Namespace {
		s := Sight{Known: true, active: e.active, situation: l.situationOf(e)}
		s.Local = slotsOf(e.revision, most)
		s.Local.Held = e.standing.holds
		s.Cloud = CloudAccount{Used: e.account.used, Held: l.cloudUse(e) != (policy.CloudUse{})}
		return s
	}
	s := Sight{situation: l.situationOfNew(pod), Local: slotsOf(l.revisions[policy.RevisionOf(pod)], most)}
	s.Cloud.Used = s.situation.cloudUsed
	return s
}

func slotsOf(rev *revision, most int) LocalSlots {
	if rev == nil {
		return LocalSlots{}
	}
	s := LocalSlots{Used: rev.used(), InCloud: rev.inCloud, Waiting: rev.active - rev.used() - rev.inCloud}
	s.Bursting = rev.bursting
	for _, e := range rev.holders[:min(most, rev.used())] {
		s.Holders = append(s.Holders, Holder{e.ref.Name, e.node})
	}
	slices.SortFunc(s.Holders, func(a, b Holder) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// Outcome returns what Reserve would have returned for the Pod at that moment. It ignores the UID of the request.
func (s Sight) Outcome(r Request) Outcome {
	if s.Known && !s.active {
		return Gone
	}
	after, _ := s.situation.revoked(r.Shares)
	return after.outcome(r)
}
