package check

import (
	"time"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// flip is a change of the global switch.
type flip struct {
	at  time.Time
	off bool
}

type faultKey struct {
	kind   string
	number int
}

// switchLag is how long after the record a component may receive a change of the switch. Its watch may be disturbed.
const switchLag = 45 * time.Second

// wasOff reports whether the switch was off at any time since the given time.
func (w *world) wasOff(since time.Time) bool {
	for i := len(w.switches) - 1; i >= 0; i-- {
		if w.switches[i].off {
			return true
		}
		if w.switches[i].at.Before(since) {
			return false
		}
	}
	return false
}

// isDisturbed reports whether there was a fault since the given time, or the effects of an earlier one.
func (w *world) isDisturbed(since time.Time) bool {
	return len(w.faults) > 0 || !w.disturbed.IsZero() && since.Before(w.disturbed.Add(aftermath))
}

// aftermath is how long the effects of a fault last: the scheduler retries a Pod without an answer after at most 10 s.
const aftermath = 12 * time.Second

func (w *world) fault(f *record.Fault) {
	key := faultKey{f.Kind, f.Number}
	if f.Ended {
		delete(w.faults, key)
		w.disturbed = w.now
	} else {
		w.faults[key] = true
	}
}
