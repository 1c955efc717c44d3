package check

import (
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// Violation is a broken promise.
type Violation struct {
	// Promise is one of I1 to I12.
	Promise string
	// Revision is the revision concerned, and Pod the Pod that shows the violation.
	Revision string
	Pod      string
	At       time.Time
	// What describes the promise and the observation.
	What string

	uids map[types.UID]bool
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s is broken by %s of %s at %s: %s",
		v.Promise, v.Pod, v.Revision, v.At.UTC().Format("15:04:05.000"), v.What)
}

// Checker checks a record. New creates one.
type Checker struct {
	world      *world
	limits     Limits
	report     Report
	violations []*Violation
	evictions  []*eviction
	// slowUntil is when the harness last stopped delaying answers.
	slowUntil time.Time
	// jumps is set while the extender's clock is wrong, and jumpedAt is when it last was.
	jumps    bool
	jumpedAt time.Time
	// later are checks that need what the record shows a little later.
	later []delayed
	// moving is how many Pods are on their way home.
	moving int
}

// delayed is a check that is made at a time.
type delayed struct {
	at    time.Time
	check func()
}

// recorderLag is how long after an answer the record may show a change that the extender knew.
const recorderLag = 3 * time.Second

// postpone makes a check when the record shows what the extender knew.
func (c *Checker) postpone(check func()) {
	c.later = append(c.later, delayed{c.world.now.Add(recorderLag), check})
}

// makePostponed makes the checks that are due, or all of them.
func (c *Checker) makePostponed(all bool) {
	for len(c.later) > 0 && (all || !c.world.now.Before(c.later[0].at)) {
		check := c.later[0].check
		c.later = c.later[1:]
		check()
	}
}

// Limits are the limits of the promises.
type Limits struct {
	// Use is how long a free slot may wait for a Pod that waits for it (I3), without faults.
	Use time.Duration
	// Answer is how long the extender may delay an unmanaged Pod (I7), except for answers that the harness delays.
	Answer time.Duration
	// Attempts is how often a refused Pod may be tried per change (I5).
	Attempts int
	// WayHome are the limits of the way home (I12).
	WayHome plan.WayHome
}

// DefaultLimits returns the promised limits. The limit of I7 is the scheduler's httpTimeout.
func DefaultLimits() Limits {
	return Limits{Use: time.Second, Answer: 2 * time.Second, Attempts: 2, WayHome: plan.DefaultWayHome()}
}

// New returns a Checker.
func New(limits Limits) (*Checker, error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	return &Checker{world: w, limits: limits, report: newReport()}, nil
}

// Observe processes the next entry of the record and returns the violations that it shows.
func (c *Checker) Observe(entry record.Entry) []*Violation {
	before := len(c.violations)
	w := c.world
	w.now = entry.At
	c.makePostponed(false)
	switch {
	case entry.Pod != nil:
		c.observePod(entry.Pod)
	case entry.Node != nil:
		w.change()
		w.nodes[entry.Node.Name] = *entry.Node
		if entry.Node.Virtual {
			w.virtual[entry.Node.Name] = true
		}
	case entry.Request != nil:
		c.observeRequest(entry.Request)
	case entry.Response != nil:
		c.observeResponse(entry.Response)
	case entry.Switch != nil:
		w.change()
		w.switches = append(w.switches, flip{w.now, entry.Switch.Off})
	case entry.Fault != nil:
		c.observeFault(entry.Fault)
	case entry.Bind != nil && entry.Bind.Fault != "":
		c.report.Binds[entry.Bind.Fault]++
	case entry.Ended != nil:
		c.observeEnded(entry.Ended.Process)
	case entry.Round != nil:
		c.observeRound(entry.Round)
	case entry.Workload != nil:
		c.observeWorkload(entry.Workload)
	case entry.Action != nil:
		c.observeAction(entry.Action)
	}
	c.report.Entries++
	return c.violations[before:]
}

func (c *Checker) observePod(noted *record.Pod) {
	w := c.world
	change := w.observe(noted)
	p := change.pod
	if change.before == nil {
		c.report.Pods++
		c.checkNotCalled(p)
	}
	w.followChanges(change)
	w.followShares(change)
	w.follow(p)
	p.unfit = p.unfit || noted.Reason == "Unschedulable"
	bound := noted.Node != "" && noted.Active() && change.before != nil && change.before.Node == ""
	c.checkSlot(change)
	if bound {
		c.checkCloud(p)
		c.checkLimits(change)
		c.checkShare(change)
		c.checkWait(p)
		c.checkUnmanaged(p)
		c.checkAttempts(p)
	}
	c.followEvictions(change, bound)
	c.followMoves(change)
}

// checkSlot checks a Pod that may have taken or given back a slot.
func (c *Checker) checkSlot(ch change) {
	c.checkQuota(ch)
	c.followFreed(ch)
}

func (c *Checker) observeFault(fault *record.Fault) {
	c.world.fault(fault)
	c.world.change() // A component that restarts retries all Pods.
	if fault.Ended {
		c.report.Faults[fault.Kind]++
	}
	if fault.Kind == string(plan.JumpExtender) {
		c.jumps, c.jumpedAt = !fault.Ended, c.world.now
	}
	if fault.Slows() && fault.Ended {
		c.slowUntil = c.world.now
	}
}

// observeEnded counts processes that exit on their own. Spillway's programs must not.
func (c *Checker) observeEnded(process string) {
	c.report.Ended[process]++
	if process == "kube-scheduler" {
		c.world.disturbed = c.world.now
		return
	}
	c.violations = append(c.violations, &Violation{
		Promise: "I7", Revision: "none", Pod: process, At: c.world.now, What: "it exited on its own",
	})
}

// slow reports whether the harness has delayed answers since the given time.
func (c *Checker) slow(since time.Time) bool {
	for fault := range c.world.faults {
		if (&record.Fault{Kind: fault.kind}).Slows() {
			return true
		}
	}
	return since.Before(c.slowUntil)
}

func (c *Checker) violate(promise string, p *pod, format string, args ...any) {
	v := &Violation{
		Promise: promise, Revision: p.revision.name, Pod: p.Name, At: c.world.now, What: fmt.Sprintf(format, args...),
		uids: maps.Clone(p.revision.ever),
	}
	c.violations = append(c.violations, v)
}

func (c *Checker) observeRound(round *record.Round) {
	switch round.Phase {
	case record.Begun:
		c.setLimits(round)
		c.report.Rounds++
		if round.Calm {
			c.report.CalmRounds++
		}
	case record.Quiet:
		c.report.Histories += round.Histories
		c.makePostponed(true)
		c.checkQuiet(round.Namespace)
	case record.Cleared:
	}
}

// Finish returns the figures and all violations. Observe must not be called afterwards.
func (c *Checker) Finish() (*Report, []*Violation) {
	return &c.report, c.violations
}
