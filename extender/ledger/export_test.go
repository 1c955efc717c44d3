package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

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
		fmt.Fprintln(&b, e.account.namespace, positionOf(e.waitsForLocal), positionOf(e.waitsForCloud))
		e.account, e.waitsForLocal, e.waitsForCloud = nil, nil, nil
		fmt.Fprintf(&b, "%+v\n", e)
	}
	revisions, accounts := map[string]string{}, map[string]string{}
	for key, rev := range l.revisions {
		revisions[key.String()] = fmt.Sprint(rev.pods, rev.active, rev.quota, rev.inCloud, namesOf(rev.holders),
			rev.queue.last, rev.queue.len)
	}
	for key, a := range l.accounts {
		accounts[key] = fmt.Sprint(a.pods, a.used, a.queue.last, a.queue.len)
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
