package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// RequeueDue requeues the Pods whose deadlines have come.
func (l *Ledger) RequeueDue(now time.Time) { l.requeueDue(now) }

// MostWorkloads returns the metrics of at most as many workloads as most.
func (l *Ledger) MostWorkloads(most int) []WorkloadStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bounded(l.workloadStats(), most)
}

// Snapshot returns everything that the ledger keeps, for tests that require that nothing changes.
func (l *Ledger) Snapshot() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	fmt.Fprintln(&b, l.loads, l.local, l.version, l.synced)
	for _, uid := range slices.Sorted(maps.Keys(l.pods)) {
		e := *l.pods[uid]
		fmt.Fprintln(&b, e.account.namespace, e.revision.key, positionOf(e.waitsForLocal), positionOf(e.waitsForShare),
			positionOf(e.waitsForCloud), positionOf(e.claims))
		if e.deadline != nil {
			fmt.Fprintln(&b, e.deadline.at, e.deadline.index)
		}
		e.account, e.revision, e.deadline = nil, nil, nil
		e.waitsForLocal, e.waitsForShare, e.waitsForCloud, e.claims = nil, nil, nil, nil
		fmt.Fprintf(&b, "%+v\n", e)
	}
	revisions, accounts := map[string]string{}, map[string]string{}
	for key, rev := range l.revisions {
		revisions[key.String()] = fmt.Sprint(rev.pods, rev.active, rev.shares, rev.inCloud, rev.bursting,
			namesOf(rev.holders), rev.slots.last, rev.slots.len, rev.share.last, rev.share.len, rev.claims.last,
			rev.claims.len, rev.claims.count)
	}
	for key, a := range l.accounts {
		accounts[key] = fmt.Sprint(a.pods, a.used, a.inherited, a.queue.last, a.queue.len)
	}
	fmt.Fprintln(&b, revisions, accounts, bounded(l.workloadStats(), maxWorkloads))
	return b.String()
}

func namesOf(entries []*entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.ref.String())
	}
	return names
}

func positionOf[G comparable](t *ticket[G]) string {
	if t == nil {
		return "does not wait"
	}
	return fmt.Sprint(t.number, t.group, t.requeued)
}
