package check

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// pod is one Pod with what has happened to it.
type pod struct {
	record.Pod
	revision *revision
	// born is how it was first seen.
	born   record.Pod
	bornAt time.Time
	// holds a slot: it is at home, or a slot is written on it and was answered.
	holds bool
	// intruded is the version at which it took a place that the extender was not asked for; 0 for none.
	intruded uint64
	// asked is the last filter question about it, answered the last answer that let it through or refused it, and toCloud the last that
	// sent it to the cloud.
	asked             *record.Asked
	answered, toCloud *answer
	// promised is set where a local node may have been answered that the record does not show: the extender holds a slot for it.
	promised bool
	// may is set while the Pod counts in the course of its revision.
	may bool
	// let is set once the scheduler was answered that it may go home. A slot that was written and never answered is none; one that is
	// answered counts from given on, a resource version. It is 0 for a slot that was refused meanwhile.
	let   bool
	given uint64
	// askedAt is the version at which the question was asked that the slot is given for: the extender counts it from then on. It stays that of the first
	// question while there are no answers.
	askedAt    uint64
	unanswered bool
	// unfit is set where the scheduler once found no node for it.
	unfit bool
	// waiting is what its waiting has cost.
	waiting attempts
	// freedAt is when the slot that it took had become free; zero where it did not wait for one.
	freedAt time.Time
}

// answer is an answered filter question.
type answer struct {
	record.Answered
	asked record.Asked
	at    time.Time
}

// world is the state of the cluster as far as the record has been read.
type world struct {
	pods      map[types.UID]*pod
	revisions map[revisionKey]*revision
	virtual   map[string]bool
	// version is the highest that was seen of a Pod.
	version   uint64
	questions map[int64]question
	rules     *policy.Policy
	switches  []flip
	faults    map[faultKey]bool
	// disturbed is when the last fault ended, or now while there is one.
	disturbed time.Time
	now       time.Time
	// changed is when something has changed for which the scheduler tries refused Pods again.
	changed times
	// untried are the Pods that wait for their first attempt, since when; behind is when one was last seen to have waited long.
	untried map[types.UID]time.Time
	behind  time.Time
	// answers are the times during which the extender was asked, in order of their ends.
	answers []span
}

// span is the time of one question, inVain where there was no answer.
type span struct {
	from, to time.Time
	inVain   bool
}

type question struct {
	record.Asked
	at time.Time
}

func newWorld() (*world, error) {
	rules, err := policy.New(policy.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return &world{
		pods: map[types.UID]*pod{}, revisions: map[revisionKey]*revision{}, virtual: map[string]bool{},
		questions: map[int64]question{}, rules: rules, faults: map[faultKey]bool{}, untried: map[types.UID]time.Time{},
	}, nil
}

// isHome tells whether the Pod is active on a local node. A node that was never seen counts as one, as it does for the ledger.
func (w *world) isHome(p *record.Pod) bool { return p.Active() && p.Node != "" && !w.virtual[p.Node] }

// holding tells whether the Pod takes a place of its revision's quota.
func (w *world) holding(p *pod) bool {
	return p.Quota != nil && (w.isHome(&p.Pod) || p.Active() && p.Node == "" && p.Slot && p.let)
}

// answer follows an answer that lets a Pod home or does not. The extender has counted a slot since it gave it, and the answer may be seen later than what has
// changed meanwhile.
func (w *world) answer(p *pod, home bool) change {
	before, held := p.Pod, p.holds
	p.let = home
	if p.revision == nil { // It has not been seen yet.
		return change{pod: p}
	}
	p.holds = w.holding(p)
	p.revision.held += delta(held, p.holds)
	p.revision.note(p, w.version, p.mayHold())
	if !home {
		p.given = 0
	}
	return change{pod: p, before: &before, left: p.revision, took: p.holds && !held, gave: held && !p.holds}
}

// promise notes that the extender may hold a slot for the Pod from when it was asked, whatever is written or answered.
func (w *world) promise(p *pod) {
	p.promised = true
	if p.revision != nil { // Otherwise it has not been seen yet.
		p.revision.note(p, w.version, p.mayHold())
	}
}

// mayHold tells whether the extender may count the Pod.
func (p *pod) mayHold() bool { return p.holds || p.promised && p.Node == "" && p.Active() }

// since is the version from which it counts that the Pod may hold a slot, as is seen at a version.
func (p *pod) since(seen uint64) uint64 {
	if p.Node != "" {
		return seen
	}
	if p.given > 0 {
		seen = min(seen, p.given)
	}
	if p.promised && p.askedAt > 0 {
		seen = min(seen, p.askedAt)
	}
	return seen
}

// change is what an entry about a Pod has changed. before is nil where it is new.
type change struct {
	pod    *pod
	before *record.Pod
	// left is the revision that the Pod belonged to before.
	left *revision
	// took and gave tell whether the Pod has begun or ceased to hold a slot of its revision.
	took, gave bool
}

// see follows a change of a Pod.
func (w *world) see(noted *record.Pod) change {
	p := w.meet(noted.UID)
	c := change{pod: p, left: p.revision}
	if p.revision == nil {
		p.born, p.bornAt = *noted, w.now
	} else {
		before := p.Pod
		c.before = &before
	}
	held := p.holds
	if noted.Slot && !p.Slot {
		p.given = noted.Version
		if p.asked != nil {
			p.given = min(p.given, p.askedAt)
		}
	}
	p.Pod, w.version = *noted, max(w.version, noted.Version)
	p.holds = w.holding(p)
	to := w.revision(noted)
	if c.left == to {
		c.took, c.gave = p.holds && !held, held && !p.holds
		to.held += delta(held, p.holds)
	} else {
		p.revision = to
		if c.left != nil {
			delete(c.left.pods, noted.UID)
			c.left.held += delta(held, false)
			c.left.note(p, noted.Version, false)
			c.gave = held
		}
		c.took = p.holds
		to.pods[noted.UID], to.ever[noted.UID] = p, true
		to.held += delta(false, p.holds)
	}
	to.note(p, noted.Version, p.mayHold())
	if noted.Gone {
		delete(to.pods, noted.UID)
	}
	return c
}

// meet returns what is known of a Pod. The scheduler may have seen it a moment before it is recorded.
func (w *world) meet(uid types.UID) *pod {
	p, ok := w.pods[uid]
	if !ok {
		p = &pod{}
		p.UID = uid
		w.pods[uid] = p
	}
	return p
}
