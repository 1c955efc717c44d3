package check

import (
	"strings"

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
			p.requestedAt = w.version
		}
		w.follow(p)
	}
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
	p.response = a
	if response.Virtual > 0 && response.Local == 0 {
		p.toCloud = a
	}
	if response.Refusal != "" {
		c.countRefusal(p)
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
// slot. A Pod for which a local node fits, and which waits for the limits of its namespace, waits for a slot too.
func (p *pod) waitsForSlot() bool {
	waiting := p.Active() && p.Node == "" && p.Quota != nil && !p.holds
	return waiting && p.response != nil && (strings.Contains(p.response.Refusal, string(policy.ReasonLocalQuota)) ||
		p.isLimited() && p.response.request.Local > 0)
}
