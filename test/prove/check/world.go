package check

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// pod is the state and the history of one Pod.
type pod struct {
	record.Pod
	revision *revision
	// born is its first observation.
	born   record.Pod
	bornAt time.Time
	// holds is set while it holds a slot: it is local, or a slot is written on it and the extender has answered.
	holds bool
	// terms are the shares and the wait that applied to it, by resource version.
	terms []terms
	// intrudedAt is the version at which it took a slot without the extender, or 0.
	intrudedAt uint64
	// request is the last filter request about it. response is the last answer that let it through or refused it, and
	// toCloud the last answer that sent it to the cloud.
	request           *record.Request
	response, toCloud *answer
	// cloudFrom is the version of the request from which on the extender may have sent it to the cloud.
	cloudFrom uint64
	// possiblyAnswered is set if a local node may have been answered without a record of it: the extender holds a slot
	// for it.
	possiblyAnswered bool
	// uncountedAt is the version at which it was bound to a virtual node without the extender, or 0. possiblyCharged is
	// set if the extender may count it in the cloud without a slot on it.
	uncountedAt     uint64
	possiblyCharged bool
	// may is set while the Pod counts in the course of its revision, claims while it counts in that of the claims of
	// the floor, and waits in that of all claims. possiblyClaims is set if the extender may count a claim of it without
	// a record of it.
	may, claims, waits, possiblyClaims bool
	// allowed is set once the extender has answered that it may be local. A slot that was written but never answered
	// does not count. One that is answered counts from the resource version givenAt on. It is 0 if the Pod was refused
	// meanwhile.
	allowed bool
	givenAt uint64
	// requestedAt is the version of the request for which the slot is given. The extender counts the slot from then on.
	// It stays the version of the first request while there are no answers.
	requestedAt uint64
	unanswered  bool
	// requestedFrom is the resource version of the Pod in that request: the extender knew no less. slotFrom and
	// cloudSlotFrom are those of the requests for which its slots were written, or 0.
	requestedFrom, slotFrom, cloudSlotFrom uint64
	// unfit is set once the scheduler has found no node for it.
	unfit bool
	// waiting counts its scheduling attempts.
	waiting attempts
	// freedAt is when the slot that it took became free. It is zero if it did not wait for one.
	freedAt time.Time
	// waitedUntil is when the reason of its last wait for burst-after ended, zero if that was not why it waited last.
	// deadlineSeen is set once it has been retried after its deadline.
	waitedUntil  time.Time
	deadlineSeen bool
	// burstAt is the version from which it counts in the cloud although the extender has not reserved a place for it,
	// or 0.
	burstAt uint64
	// byHarness is set if the harness ends it, and moved once it has been on its way home.
	byHarness, moved bool
}

// answer is a filter request with its answer.
type answer struct {
	record.Response
	request record.Request
	at      time.Time
}

// world is the state of the cluster after the entries so far.
type world struct {
	pods      map[types.UID]*pod
	limits    map[string]policy.CloudLimits // by namespace
	settings  map[string]map[string]string  // of namespaces
	workloads map[string]*workload          // by namespace and name
	nodes     map[string]record.Node
	revisions map[revisionKey]*revision
	virtual   map[string]bool
	// version is the highest version of all observed Pods.
	version  uint64
	pending  map[int64]pendingRequest
	rules    *policy.Policy
	switches []flip
	faults   map[faultKey]bool
	// disturbed is when the last fault ended, or now during a fault.
	disturbed time.Time
	now       time.Time
	// changed is when something changed that makes the scheduler retry refused Pods.
	changed times
	// untried are the Pods that wait for their first attempt, and since when. behind is when one was last found to have
	// waited long.
	untried map[types.UID]time.Time
	behind  time.Time
	// answers are the periods of calls of the extender, ordered by their ends.
	answers []span
}

// span is the period of one call. It has failed if there was no answer.
type span struct {
	from, to time.Time
	failed   bool
}

type pendingRequest struct {
	record.Request
	at time.Time
}

func newWorld() (*world, error) {
	rules, err := policy.New(policy.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return &world{
		pods: map[types.UID]*pod{}, limits: map[string]policy.CloudLimits{},
		settings: map[string]map[string]string{}, workloads: map[string]*workload{}, nodes: map[string]record.Node{},
		revisions: map[revisionKey]*revision{}, virtual: map[string]bool{},
		pending: map[int64]pendingRequest{}, rules: rules, faults: map[faultKey]bool{},
		untried: map[types.UID]time.Time{},
	}, nil
}

// isLocal reports whether the Pod is active on a local node. Like the ledger, it counts an unknown node as local.
func (w *world) isLocal(p *record.Pod) bool { return p.Active() && p.Node != "" && !w.virtual[p.Node] }

// holding reports whether the Pod holds a slot of its revision.
func (w *world) holding(p *pod) bool {
	return w.isLocal(&p.Pod) || p.Active() && p.Node == "" && p.Slot && p.allowed
}

// answer records an answer that allows a Pod to be local, or does not. The extender counts the slot from when it gave
// it, and the answer may be recorded after later changes.
func (w *world) answer(p *pod, local bool) change {
	before, held := p.Pod, p.holds
	p.allowed = local
	if p.revision == nil { // The Pod has not been observed yet.
		return change{pod: p}
	}
	p.holds = w.holding(p)
	p.revision.held += delta(held, p.holds)
	p.revision.certain.add(w.version, delta(held, p.holds), p)
	p.revision.note(p, w.version)
	if !local {
		p.givenAt, p.slotFrom = 0, 0
	}
	return change{pod: p, before: &before, left: p.revision, took: p.holds && !held, gave: held && !p.holds}
}

// mayHaveAnswered records that the extender may hold a slot for the Pod since the request, whatever is written or
// answered.
func (w *world) mayHaveAnswered(p *pod) {
	p.possiblyAnswered = true
	if p.revision != nil { // Otherwise the Pod has not been observed yet.
		p.revision.note(p, w.version)
	}
}

// mayHold reports whether the extender may count the Pod.
func (p *pod) mayHold() bool { return p.holds || p.possiblyAnswered && p.Node == "" && p.Active() }

// since returns the version from which the Pod may hold a slot, as observed at a version.
func (p *pod) since(seen uint64) uint64 {
	if p.Node != "" {
		return seen
	}
	if p.givenAt > 0 {
		seen = min(seen, p.givenAt)
	}
	if p.possiblyAnswered && p.requestedAt > 0 {
		seen = min(seen, p.requestedAt)
	}
	return seen
}

// change is a change of a Pod. before is nil for a new Pod.
type change struct {
	pod    *pod
	before *record.Pod
	// left is the revision that the Pod belonged to before.
	left *revision
	// took and gave report whether the Pod has taken or given back a slot of its revision.
	took, gave bool
}

// observe applies a change of a Pod.
func (w *world) observe(noted *record.Pod) change {
	p := w.lookUp(noted.UID)
	c := change{pod: p, left: p.revision}
	if p.revision == nil {
		p.born, p.bornAt = *noted, w.now
	} else {
		before := p.Pod
		c.before = &before
	}
	held := p.holds
	if noted.Slot && !p.Slot {
		p.givenAt = noted.Version
		if p.request != nil {
			p.givenAt, p.slotFrom = min(p.givenAt, p.requestedAt), p.requestedFrom
		}
	}
	if noted.CloudSlot && !p.CloudSlot && p.request != nil {
		p.cloudSlotFrom = p.requestedFrom
	}
	wasActive := p.revision != nil && p.Active()
	p.Pod, w.version = *noted, max(w.version, noted.Version)
	w.noteTerms(p, c.before)
	p.holds = w.holding(p)
	to := w.revision(noted)
	if c.left == to {
		c.took, c.gave = p.holds && !held, held && !p.holds
		to.held += delta(held, p.holds)
		to.certain.add(noted.Version, delta(held, p.holds), p)
	} else {
		p.revision = to
		if c.left != nil {
			delete(c.left.pods, noted.UID)
			c.left.held += delta(held, false)
			c.left.certain.add(noted.Version, delta(held, false), p)
			c.left.part(p, noted.Version)
			c.left.replicas.add(noted.Version, delta(wasActive, false), p)
			c.gave, wasActive = held, false
		}
		c.took = p.holds
		to.pods[noted.UID], to.ever[noted.UID] = p, true
		to.held += delta(false, p.holds)
		to.certain.add(noted.Version, delta(false, p.holds), p)
	}
	to.note(p, noted.Version)
	to.replicas.add(noted.Version, delta(wasActive, p.Active()), p)
	if noted.Gone {
		delete(to.pods, noted.UID)
	}
	return c
}

// lookUp returns the state of a Pod. The scheduler may observe a Pod before it is recorded, so it is created if
// necessary.
func (w *world) lookUp(uid types.UID) *pod {
	p, ok := w.pods[uid]
	if !ok {
		p = &pod{}
		p.UID = uid
		w.pods[uid] = p
	}
	return p
}
