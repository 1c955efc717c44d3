package check

import (
	"maps"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// workload is what the harness has written to a workload, and the moves of its Pods.
type workload struct {
	record.Workload
	// moves counts the moves. firstAt and lastAt are when the first and the last began.
	moves           int
	firstAt, lastAt time.Time
	// returned are the moves whose Pod has left the cloud, and sent is how many of its Pods were bound to the cloud.
	returned, sent int
	// otherDrop is when a Pod last ceased to be ready for another reason than a move.
	otherDrop time.Time
}

func (c *Checker) observeWorkload(noted *record.Workload) {
	key := noted.Namespace + "/" + noted.Name
	known := c.world.workloads[key]
	if known == nil {
		known = &workload{}
		c.world.workloads[key] = known
	}
	known.Workload = *noted
}

// observeAction remembers the Pods that the harness ends.
func (c *Checker) observeAction(action *record.Action) {
	namespace, _, _ := strings.Cut(action.Workload, "/")
	switch plan.Action(action.Do) {
	case plan.Delete, plan.ForceDelete, plan.Evict, plan.Fail:
	default:
		return
	}
	for _, p := range c.world.pods {
		if p.Namespace == namespace && p.Name == action.On {
			p.byHarness = true
		}
	}
}

// checkSettings checks I11 when the round is quiet: the active Pods of a workload have the annotations of the workload.
func (c *Checker) checkSettings(namespace string) {
	for _, p := range c.world.inNamespace(namespace) {
		owner := c.world.workloads[namespace+"/"+p.App]
		if owner == nil || owner.Settings == nil || !p.Active() {
			continue
		}
		owned := p.OwnerName == p.App || strings.HasPrefix(p.OwnerName, p.App+"-")
		if !owned || !p.Marked || p.born.Owner != p.Owner {
			continue // It was created without the webhook, or came to the workload later.
		}
		c.report.Inherited++
		if got := annotationsOf(&p.Pod); !maps.Equal(got, owner.Settings) {
			c.violate("I11", p, "it has the annotations %v, its workload has %v, and the round is quiet", got,
				owner.Settings)
		}
	}
}

// evictedByAPI is the reason of the condition DisruptionTarget of a Pod that was evicted.
const evictedByAPI = "EvictionByEvictionAPI"

// budgetLag is how long after a Pod has ended the disruption controller may learn of it. An eviction that it allows
// meanwhile may leave fewer Pods than the budget says.
const budgetLag = 15 * time.Second

// followMoves checks I12 with each change of a Pod.
func (c *Checker) followMoves(ch change) {
	p, before := ch.pod, ch.before
	c.world.joinCloud(ch)
	owner := c.world.workloads[p.Namespace+"/"+p.App]
	if owner == nil || before == nil {
		return
	}
	if before.Node == "" && c.world.virtual[p.Node] {
		owner.sent++
	}
	evicted := p.Disrupted == evictedByAPI && before.Disrupted != evictedByAPI
	byMove := evicted && !p.byHarness && c.world.virtual[p.Node]
	switch {
	case before.Moving == "" && p.Moving != "":
		c.beginMove(p, owner)
	case byMove && p.Moving == "" && !p.moved:
		c.beginMove(p, owner)
		c.endMove(owner, true)
	}
	movingBefore, movingNow := before.Moving != "" && before.Active(), p.Moving != "" && p.Active()
	if movingBefore && !movingNow {
		c.endMove(owner, !p.Active())
	}
	c.checkBudget(ch, owner, byMove)
}

// beginMove checks I12 for a move that begins.
func (c *Checker) beginMove(p *pod, owner *workload) {
	now, limits := c.world.now, c.limits.WayHome
	p.moved = true
	c.moving++
	c.report.Moves++
	switch {
	case !owner.WayHome:
		c.violate("I12", p, "it is on its way home, but its workload must stay where it is")
	case c.moving > limits.MaxMoves:
		c.violate("I12", p, "%d Pods are on their way home at once: want at most %d", c.moving, limits.MaxMoves)
	case owner.moves > 0 && now.Sub(owner.lastAt) < limits.Pause-limits.Tolerance:
		c.violate("I12", p, "a Pod of its workload began its way home %s before: want at least %s",
			now.Sub(owner.lastAt), limits.Pause)
	case p.Burst == string(policy.ModeEnforce):
		c.violate("I12", p, "it is on its way home, but it must run in the cloud")
	case !p.Created.IsZero() && now.Sub(p.Created) < limits.MinAge:
		c.violate("I12", p, "it is on its way home %s after its creation: want at least %s", now.Sub(p.Created),
			limits.MinAge)
	}
	if owner.moves == 0 {
		owner.firstAt = now
	}
	owner.moves++
	owner.lastAt = now
}

func (c *Checker) endMove(owner *workload, returned bool) {
	c.moving--
	if returned {
		owner.returned++
		c.report.Returned++
	}
}

// checkBudget checks I12 for a Pod that has ceased to be ready: a move does not leave fewer ready Pods than the
// PodDisruptionBudget of the workload says.
func (c *Checker) checkBudget(ch change, owner *workload, byMove bool) {
	ready := func(p *record.Pod) bool { return p.Ready && p.Active() }
	if owner.MinAvailable == 0 || !ready(ch.before) || ready(&ch.pod.Pod) {
		return
	}
	now := c.world.now
	if !byMove {
		owner.otherDrop = now
		return
	}
	count := 0
	for _, p := range c.world.pods {
		if p.Namespace == owner.Namespace && p.App == owner.Name && ready(&p.Pod) {
			count++
		}
	}
	c.report.Budgets++
	if count < owner.MinAvailable && now.Sub(owner.otherDrop) > budgetLag {
		c.violate("I12", ch.pod, "it was evicted for its way home, which leaves %d ready Pods: the "+
			"PodDisruptionBudget requires %d", count, owner.MinAvailable)
	}
}

// checkMoves checks I12 when the round is quiet: all moves have ended, and there were no more than the pauses and the
// Pods in the cloud allow.
func (c *Checker) checkMoves(namespace string) {
	for _, p := range c.world.inNamespace(namespace) {
		if p.Moving != "" && p.Active() {
			c.violate("I12", p, "it is still on its way home, and the round is quiet")
		}
	}
	pause := c.limits.WayHome.Pause - c.limits.WayHome.Tolerance
	for _, owner := range c.world.workloads {
		if owner.Namespace != namespace || owner.moves == 0 {
			continue
		}
		most := 1 + int(owner.lastAt.Sub(owner.firstAt)/pause)
		if owner.moves > most || owner.returned > owner.sent {
			c.violations = append(c.violations, &Violation{
				Promise: "I12", Revision: namespace + "/" + owner.Name, Pod: "none", At: c.world.now,
				What: "there were more moves than the pauses or the Pods in the cloud allow",
			})
		}
	}
}
