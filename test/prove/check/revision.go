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

// revisionOf returns the revision of a Pod. A Pod on its way home stays one of the revision that has released it.
func revisionOf(p *record.Pod) revisionKey {
	if p.Owner == "" && p.Moving != "" {
		return revisionKey{owner: p.Moving}
	}
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
	// course contains the changes of the number of slots that the extender may have counted, homes those with the
	// claims of the floor, and places those with all claims. replicas contains the changes of the number of active
	// Pods.
	course, homes, places, replicas course
	// certain contains the changes of the number of slots that are held for certain.
	certain course
	// freed are the times at which slots became free that no waiting Pod has taken yet.
	freed []time.Time
}

// course is how a count of a revision changed, as far as the extender may have known, ordered by resource version.
type course []point

// point is a resource version at which a Pod began or ceased to count.
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

// note records whether the Pod may hold or claim a slot, as observed at a version. The answer that gives a slot comes
// after the slot was written, so this is observed late.
func (r *revision) note(p *pod, seen uint64) {
	r.set(p, seen, p.mayHold(), p.mayClaim(true), p.mayClaim(false))
}

// part records that the Pod does not belong to the revision any more.
func (r *revision) part(p *pod, seen uint64) { r.set(p, seen, false, false, false) }

func (r *revision) set(p *pod, seen uint64, may, claims, waits bool) {
	homes, places := delta(p.may || p.claims, may || claims), delta(p.may || p.waits, may || waits)
	version := func(by int) uint64 {
		if by > 0 {
			return p.since(seen)
		}
		return seen
	}
	by := delta(p.may, may)
	r.course.add(version(by), by, p)
	r.homes.add(version(homes), homes, p)
	r.places.add(version(places), places, p)
	p.may, p.claims, p.waits = may, claims, waits
}

// add records that a Pod began or ceased to count at a version. It ignores 0.
func (c *course) add(version uint64, by int, p *pod) {
	if by == 0 {
		return
	}
	at := len(*c)
	for at > 0 && (*c)[at-1].version > version {
		at--
	}
	*c = slices.Insert(*c, at, point{version, by, p})
}

// between returns the least and the most that all Pods but one may have counted between two versions.
func (c course) between(from, to uint64, but *pod) (least, most int) {
	count := 0
	for _, at := range c {
		if at.version > to {
			break
		}
		if at.pod != but {
			count += at.by
		}
		if at.version <= from {
			least, most = count, count
		} else {
			least, most = min(least, count), max(most, count)
		}
	}
	return least, most
}

func (c course) most(from, to uint64, but *pod) int {
	_, most := c.between(from, to, but)
	return most
}

// active returns the number of active Pods now.
func (r *revision) active() int {
	count := 0
	for _, p := range r.pods {
		if p.Active() {
			count++
		}
	}
	return count
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
