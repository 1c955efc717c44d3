package check

import (
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

func (c *Checker) observeRequest(request *record.Request) {
	w := c.world
	w.pending[request.ID] = pendingRequest{*request, w.now}
	c.report.Requests[request.Verb]++
	p := w.lookUp(request.UID)
	if request.Verb != "prioritize" {
		p.request = request
		if !p.unanswered {
			p.requestedAt, p.requestedFrom = w.version, request.Version
		}
		w.follow(p)
	}
	c.passDeadline(p)
	c.beginWaiting(p)
	c.checkNotCalled(p)
}

func (c *Checker) observeResponse(response *record.Response) {
	w := c.world
	q, ok := w.pending[response.ID]
	if !ok {
		return
	}
	delete(w.pending, response.ID)
	p, took := w.lookUp(response.UID), w.now.Sub(q.at)
	w.answers = append(w.answers, span{q.at, w.now, response.Error != ""})
	c.report.Answers = append(c.report.Answers, took)
	c.checkAnswer(p, took)
	if response.Verb == "prioritize" {
		return
	}
	p.unanswered = response.Error != ""
	if response.Error != "" {
		c.report.Errors++
		p.waiting.changed = append(p.waiting.changed, w.now) // The scheduler retries the Pod without a change.
		p.possiblyCharged = p.possiblyCharged || q.Virtual > 0
		p.possiblyClaims = p.possiblyClaims || q.Local == 0
		w.renote(p)
		if q.Local > 0 {
			w.mayHaveAnswered(p)
		}
		if response.Local > 0 { // The answer was lost, but the extender cannot know that.
			c.checkSlot(w.answer(p, true))
		}
		return
	}
	if response.Local > 0 {
		w.mayHaveAnswered(p)
	}
	if response.Local > 0 || q.Local > 0 {
		c.checkSlot(w.answer(p, response.Local > 0))
	}
	if response.Verb != "filter" {
		c.observePreemption(p, response)
		return
	}
	a := &answer{Response: *response, request: q.Request, at: w.now}
	c.followWaits(p, a)
	p.response, p.possiblyClaims = a, false
	w.renote(p)
	if response.Virtual > 0 && response.Local == 0 {
		if p.toCloud == nil || w.now.Sub(p.toCloud.at) > landsLate {
			p.cloudFrom = q.Version
		}
		p.toCloud = a
	}
	if response.Refusal != "" {
		c.countRefusal(p)
	}
}

// landsLate is how long after an answer the binding that it causes may succeed. Another answer may come in between.
const landsLate = 10 * time.Second

// renote records what the extender may count of a Pod after an answer.
func (w *world) renote(p *pod) {
	if p.revision != nil { // Otherwise the Pod has not been observed yet.
		p.revision.note(p, w.version)
	}
}

// observePreemption handles an answer that allows the scheduler to preempt other Pods. If the preemption fails because
// the API server is down, the scheduler retries the Pod at once, without a change.
func (c *Checker) observePreemption(p *pod, response *record.Response) {
	if response.Local+response.Virtual > 0 {
		c.report.Preempting++
		p.waiting.changed = append(p.waiting.changed, c.world.now)
	}
}

// waitsForSlot reports whether the extender has refused the Pod because its quota is used up, so that it waits for a
// slot. A Pod for which a local node fits, and which waits for room in the cloud, waits for a slot too.
func (p *pod) waitsForSlot() bool {
	if !p.Active() || p.Node != "" || !p.now().Shares.HasLocalCap() || p.holds || p.response == nil {
		return false
	}
	return p.refusedFor(policy.ReasonLocalQuota) || p.response.request.Local > 0 &&
		p.refusedFor(policy.ReasonCloudLimits, policy.ReasonCloudMax, policy.ReasonLocalMin, policy.ReasonBurstAfter)
}
