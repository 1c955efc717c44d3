package ledger

import "github.com/spillway-k8s/spillway/policy"

// claim is what a refused Pod claims that waits for room on local nodes. It never gives a local slot and never blocks
// one: it only counts when it is decided which Pods without room wait and which burst.
type claim struct {
	shares policy.Shares
	// floor says that the Pod must not burst at all. Otherwise it must not burst yet.
	floor bool
	// held says that the Pod has a local slot, which counts already.
	held bool
	// void says that others have what the Pod claims, and that it was requeued.
	void bool
}

// claimCount counts claims that are not void, of Pods without a local slot: those of the floor, and those of Pods that
// may burst later.
type claimCount struct{ floor, wait int }

func (c *claimCount) add(group claim, by int) {
	switch {
	case group.void || group.held:
	case group.floor:
		c.floor += by
	default:
		c.wait += by
	}
}

// claims are the claims of a revision, by when the Pods began to wait.
type claims struct {
	queue[claim]
	count claimCount
}

// add adds the claim of a Pod to the end.
func (c *claims) add(e *entry, group claim) *ticket[claim] {
	c.count.add(group, +1)
	return c.queue.add(e, group)
}

// drop removes a claim.
func (c *claims) drop(t *ticket[claim]) {
	c.count.add(t.group, -1)
	c.remove(t)
}

// change changes a claim. It keeps its position.
func (c *claims) change(t *ticket[claim], group claim) {
	c.count.add(t.group, -1)
	c.count.add(group, +1)
	c.move(t, group)
}

// hold records whether the Pod of a claim has a local slot.
func (c *claims) hold(t *ticket[claim], held bool) {
	group := t.group
	group.held = held
	c.change(t, group)
}

// void makes claims void, the oldest first, until the others claim no more than is left for them, and requeues their
// Pods. A slot that was taken without a claim thus makes one claim void. Those of Pods that have a slot come last: they
// count as used in any case.
func (c *claims) void(replicas, used int, requeue func(*entry)) {
	for _, kind := range []claim{{floor: true}, {}, {floor: true, held: true}, {held: true}} {
		for {
			var first *ticket[claim]
			for group, list := range c.groups {
				same := !group.void && group.floor == kind.floor && group.held == kind.held
				if same && !c.valid(group, replicas, used) && (first == nil || list[0].number < first.number) {
					first = list[0]
				}
			}
			if first == nil {
				break
			}
			group := first.group
			group.void = true
			c.change(first, group)
			if !first.requeued { // Otherwise its deadline has come.
				first.requeued = true
				requeue(first.entry)
			}
		}
	}
}

// valid reports whether a Pod must still wait: of the replicas that have or claim a place on local nodes, the others
// leave one.
func (c *claims) valid(group claim, replicas, used int) bool {
	others := used + c.count.floor - 1
	if group.floor {
		return others < group.shares.LocalFloor(replicas)
	}
	return others+c.count.wait < group.shares.LocalCap(replicas)
}

// again makes void requeue Pods that were requeued before, and requeues those whose deadlines have come.
func (c *claims) again(requeue func(*entry)) {
	var void []*ticket[claim]
	for group, list := range c.groups {
		if group.void {
			void = append(void, list...)
			continue
		}
		for _, t := range list {
			if t.requeued {
				requeue(t.entry)
			}
		}
	}
	for _, t := range void {
		group := t.group
		group.void = false
		c.change(t, group)
		t.requeued = false
	}
}
