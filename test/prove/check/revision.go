package check

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// revisionKey is what a quota is counted on: the controlling object and, where it keeps its UID over an update, the hash of its revision;
// the Pod itself where nothing controls it.
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

// revision is the count of one quota.
type revision struct {
	key  revisionKey
	name string
	// pods are those that belong to it now.
	pods map[types.UID]*pod
	// ever are all that have belonged to it.
	ever map[types.UID]bool
	held int
	// course is how the number of slots has changed that the extender may have held, in the order of resource versions.
	course []point
	// freed are the times at which slots became free that a waiting Pod has not taken yet.
	freed []time.Time
}

// point is a resource version at which a Pod began or ceased to hold a slot, as far as the extender may have known.
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

// note follows whether the Pod may hold a slot, as is seen at a version. That is learnt late of a slot whose answer comes after its writing.
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

// mayHoldBut is how many slots Pods but for one may hold now.
func (r *revision) mayHoldBut(but *pod) int {
	count := 0
	for _, p := range r.pods {
		if p != but && p.may {
			count++
		}
	}
	return count
}

// mostHeld is the highest number of slots that Pods but for one may have held from one version to another.
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
