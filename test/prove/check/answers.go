package check

import (
	"strings"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

func (c *Checker) seeAsked(asked *record.Asked) {
	w := c.world
	w.questions[asked.ID] = question{*asked, w.now}
	c.report.Questions[asked.Verb]++
	p := w.meet(asked.UID)
	if asked.Verb != "prioritize" {
		p.asked = asked
		if !p.unanswered {
			p.askedAt = w.version
		}
		w.follow(p)
	}
	c.beginWaiting(p)
	c.checkConcerned(p)
}

func (c *Checker) seeAnswered(answered *record.Answered) {
	w := c.world
	q, ok := w.questions[answered.ID]
	if !ok {
		return
	}
	delete(w.questions, answered.ID)
	p, took := w.meet(answered.UID), w.now.Sub(q.at)
	w.answers = append(w.answers, span{q.at, w.now, answered.Error != ""})
	c.report.Answers = append(c.report.Answers, took)
	c.checkAnswer(p, took)
	if answered.Verb == "prioritize" {
		return
	}
	p.unanswered = answered.Error != ""
	if answered.Error != "" {
		c.report.Errors++
		p.waiting.changed = append(p.waiting.changed, w.now) // The scheduler tries it again by itself.
		if q.Local > 0 {
			w.promise(p)
		}
		if answered.Local > 0 { // It was lost, which the extender cannot know.
			c.checkSlot(w.answer(p, true))
		}
		return
	}
	if answered.Local > 0 {
		w.promise(p)
	}
	if answered.Local > 0 || q.Local > 0 {
		c.checkSlot(w.answer(p, answered.Local > 0))
	}
	if answered.Verb != "filter" {
		c.seePreempting(p, answered)
		return
	}
	a := &answer{Answered: *answered, asked: q.Asked, at: w.now}
	p.answered = a
	if answered.Virtual > 0 && answered.Local == 0 {
		p.toCloud = a
	}
	if answered.Refusal != "" {
		c.countRefusal(p)
	}
}

// seePreempting follows an answer that lets the scheduler evict others for the Pod. Where that fails, since the API server is away, the scheduler tries the
// Pod again at once, and by itself.
func (c *Checker) seePreempting(p *pod, answered *record.Answered) {
	if answered.Local+answered.Virtual > 0 {
		c.report.Preempting++
		p.waiting.changed = append(p.waiting.changed, c.world.now)
	}
}

// waits tells whether the extender has refused the Pod because its quota is used up, and it waits for a slot.
func (p *pod) waits() bool {
	return p.Active() && p.Node == "" && p.Quota != nil && !p.holds && p.answered != nil && strings.Contains(p.answered.Refusal, string(policy.ReasonLocalQuota))
}
