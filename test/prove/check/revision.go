package check

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// revisionKey identifies what a quota applies to: the controlling object and, if it keeps its UID over an update, the
// hash of its revision. For a Pod without a controller it is the Pod itself.
type revisionKey struct {
	owner types.UID
	hash  string
}

func revisionOf(p *record.Pod) revisionKey {
	if p.Owner == "" {
		return revisionKey{owner: p.UID}
	}
	return revisionKey{p.Owner, p.Hash}
}

// revision counts the slots of one quota.
type revision struct {
	key  revisionKey
	name string
	// pods are the Pods that belong to it now.
	pods map[types.UID]*pod
	// ever are all Pods that have ever belonged to it.
	ever map[types.UID]bool
	held int
	// course contains the changes of the number of slots that the extender may have counted, ordered by resource version.
	course []point
	// freed are the times at which slots became free that no waiting Pod has taken yet.
	freed []time.Time
}

// point is a resource version at which a Pod took or gave back a slot, as far as the extender may have known.
type point struct {
	version uint64
	by      int
	pod     *pod
}

func delta(before, after bool) int {
	switch {
	case after && !before:
		return 1
	case before && !after:
		return -1
	default:
		return 0
	}
}

func (w *world) revision(p *record.Pod) *revision {
	key := revisionOf(p)
	r, ok := w.revisions[key]
	if !ok {
		name := p.OwnerName
		if name == "" {
			name = p.Name
		}
		r = &revision{key: key, name: p.Namespace + "/" + name, pods: map[types.UID]*pod{}, ever: map[types.UID]bool{}}
		if p.Hash != "" {
			r.name += " (" + p.Hash + ")"
		}
		w.revisions[key] = r
	}
	return r
}

// note records whether the Pod may hold a slot, as observed at a version. The answer that gives a slot comes after the
// slot was written, so this is observed late.
func (r *revision) note(p *pod, seen uint64, may bool) {
	if may == p.may {
		return
	}
	version := seen
	if may {
		version = p.since(seen)
	}
	at := len(r.course)
	for at > 0 && r.course[at-1].version > version {
		at--
	}
	r.course = slices.Insert(r.course, at, point{version, delta(p.may, may), p})
	p.may = may
}

// mayHoldBut returns the number of slots that all Pods but one may hold now.
func (r *revision) mayHoldBut(but *pod) int {
	count := 0
	for _, p := range r.pods {
		if p != but && p.may {
			count++
		}
	}
	return count
}

// mostHeld returns the maximum number of slots that all Pods but one may have held between two versions.
func (r *revision) mostHeld(from, to uint64, but *pod) int {
	held, most := 0, 0
	for _, at := range r.course {
		if at.version > to {
			break
		}
		if at.pod != but {
			held += at.by
		}
		if at.version <= from {
			most = held
		} else {
			most = max(most, held)
		}
	}
	return most
}
