package check

import (
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// Violation is a promise that was not kept.
type Violation struct {
	// Promise is one of I1 to I7.
	Promise string
	// Revision names what it is about, and Pod the Pod that shows it.
	Revision string
	Pod      string
	At       time.Time
	// What says what was promised and what was.
	What string

	uids map[types.UID]bool
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s is broken by %s of %s at %s: %s", v.Promise, v.Pod, v.Revision, v.At.UTC().Format("15:04:05.000"), v.What)
}

// Checker goes through a record. Make one with New.
type Checker struct {
	world      *world
	limits     Limits
	report     Report
	violations []*Violation
	evictions  []*eviction
	// slowUntil is when the harness last ceased to make answers slow.
	slowUntil time.Time
}

// Limits are what the promises that speak of time promise.
type Limits struct {
	// Use is how long a free slot may wait for a Pod that waits for it (I3), outside of faults.
	Use time.Duration
	// Answer is how long the extender may hold up a Pod that does not concern it (I7), but for answers that the harness made slow.
	Answer time.Duration
	// Attempts is how often a refused Pod may be tried for each real change (I5).
	Attempts int
}

// DefaultLimits are those that are promised. The one of I7 is the scheduler's httpTimeout.
func DefaultLimits() Limits { return Limits{Use: time.Second, Answer: 2 * time.Second, Attempts: 2} }

// New makes a Checker.
func New(limits Limits) (*Checker, error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	return &Checker{world: w, limits: limits, report: newReport()}, nil
}

// See takes the next entry of the record and returns the violations that it shows.
func (c *Checker) See(entry record.Entry) []*Violation {
	before := len(c.violations)
	w := c.world
	w.now = entry.At
	switch {
	case entry.Pod != nil:
		c.seePod(entry.Pod)
	case entry.Node != nil:
		w.change()
		if entry.Node.Virtual {
			w.virtual[entry.Node.Name] = true
		}
	case entry.Asked != nil:
		c.seeAsked(entry.Asked)
	case entry.Answered != nil:
		c.seeAnswered(entry.Answered)
	case entry.Switch != nil:
		w.change()
		w.switches = append(w.switches, flip{w.now, entry.Switch.Off})
	case entry.Fault != nil:
		c.seeFault(entry.Fault)
	case entry.Bind != nil && entry.Bind.Fault != "":
		c.report.Binds[entry.Bind.Fault]++
	case entry.Ended != nil:
		c.seeEnded(entry.Ended.Process)
	case entry.Round != nil:
		c.seeRound(entry.Round)
	}
	c.report.Entries++
	return c.violations[before:]
}

func (c *Checker) seePod(noted *record.Pod) {
	w := c.world
	change := w.see(noted)
	p := change.pod
	if change.before == nil {
		c.report.Pods++
		c.checkConcerned(p)
	}
	w.followChanges(change)
	w.follow(p)
	p.unfit = p.unfit || noted.Reason == "Unschedulable"
	bound := noted.Node != "" && noted.Active() && change.before != nil && change.before.Node == ""
	c.checkSlot(change)
	if bound {
		c.checkCloud(p)
		c.checkUnconcerned(p)
		c.checkAttempts(p)
	}
	c.followEvictions(change, bound)
}

// checkSlot follows a Pod that may have begun or ceased to hold a slot.
func (c *Checker) checkSlot(ch change) {
	c.checkQuota(ch)
	c.followFreed(ch)
}

func (c *Checker) seeFault(fault *record.Fault) {
	c.world.fault(fault)
	c.world.change() // What starts anew looks at all Pods again.
	if fault.Ended {
		c.report.Faults[fault.Kind]++
	}
	if fault.Slows() && fault.Ended {
		c.slowUntil = c.world.now
	}
}

// seeEnded counts processes that end by themselves. Ours never do.
func (c *Checker) seeEnded(process string) {
	c.report.Ended[process]++
	if process == "kube-scheduler" {
		c.world.disturbed = c.world.now
		return
	}
	c.violations = append(c.violations, &Violation{Promise: "I7", Revision: "none", Pod: process, At: c.world.now, What: "it has ended by itself"})
}

// slow tells whether the harness has made answers slow since then.
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

func (c *Checker) seeRound(round *record.Round) {
	switch round.Phase {
	case record.Begun:
		c.report.Rounds++
		if round.Calm {
			c.report.CalmRounds++
		}
	case record.Quiet:
		c.report.Histories += round.Histories
		c.checkQuiet(round.Namespace)
	case record.Cleared:
	}
}

// Finish returns the figures and all violations. Nothing may be seen afterwards.
func (c *Checker) Finish() (*Report, []*Violation) {
	return &c.report, c.violations
}
