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
	// course is how the number of held slots has changed, in the order of resource versions.
	course []point
	// freed are the times at which slots became free that a waiting Pod has not taken yet.
	freed []time.Time
}

// point is a resource version at which the number of held slots changed.
type point struct {
	version uint64
	by      int
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

// count notes that from a version on more slots are held, or fewer. That is learnt late of a slot whose answer comes after its writing.
func (r *revision) count(version uint64, by int) {
	if by == 0 {
		return
	}
	r.held += by
	at := len(r.course)
	for at > 0 && r.course[at-1].version > version {
		at--
	}
	r.course = slices.Insert(r.course, at, point{version, by})
}

// mostHeld is the highest number of slots held from one version to another.
func (r *revision) mostHeld(from, to uint64) int {
	held, most := 0, 0
	for _, at := range r.course {
		if at.version > to {
			break
		}
		held += at.by
		if at.version <= from {
			most = held
		} else {
			most = max(most, held)
		}
	}
	return most
}
