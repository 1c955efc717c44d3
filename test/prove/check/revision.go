package check

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

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

type revision struct {
	key  revisionKey
	name string
	// pods are those that belong to it now.
	pods map[types.UID]*pod
	// ever are all that have belonged to it.
	ever map[types.UID]bool
	held int
	// course is how many held a slot from a resource version on.
	course []point
	// freed are the times at which slots became free that a waiting Pod has not taken yet.
	freed []time.Time
}

type point struct {
	version uint64
	held    int
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

func (r *revision) count(version uint64, by int) {
	if by != 0 {
		r.held += by
		r.course = append(r.course, point{version, r.held})
	}
}

func (r *revision) mostHeld(from, to uint64) int {
	most := 0
	for i := len(r.course) - 1; i >= 0; i-- {
		if at := r.course[i]; at.version <= to {
			most = max(most, at.held)
			if at.version <= from {
				break
			}
		}
	}
	return most
}
