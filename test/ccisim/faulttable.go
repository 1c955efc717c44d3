package ccisim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// faultTable holds the faults that are switched on, oldest first. It has its own lock, which is never held while another is taken.
type faultTable struct {
	mu     sync.Mutex
	last   int
	active []*activeFault
}

func newFaultTable() *faultTable { return &faultTable{} }

// spoiling is what the faults do to one request.
type spoiling struct {
	latency    time.Duration
	refusal    *apiError
	loseAnswer bool
	halfBody   bool
}

func (s *spoiling) delay(ctx context.Context) {
	if s.latency > 0 {
		delayUntilDone(s.latency, ctx.Done())
	}
}

// writeSpoil is what the faults do to one piece of a stream.
type writeSpoil struct{ half, twice bool }

// streams says which verbs answer with a stream, where faults strike its pieces.
func streams(verb string) bool { return verb == "watch" || verb == "log" }

// takeForRequest finds what strikes a request, and uses up the faults' times.
func (t *faultTable) takeForRequest(verb, path string) *spoiling {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := &spoiling{}
	for _, f := range slices.Clone(t.active) {
		if !requestFaults[f.Kind] || !f.matches(verb, path) {
			continue
		}
		switch {
		case f.Kind == Latency:
			out.latency += f.Delay.Duration
		case f.Kind == LoseAnswer && !out.loseAnswer:
			out.loseAnswer = true
		case f.Kind == HalfBody && !streams(verb) && !out.halfBody:
			out.halfBody = true
		case out.refusal == nil && f.refusal() != nil && (f.limiter == nil || !f.limiter.Allow()):
			out.refusal = f.refusal()
		default:
			continue
		}
		t.use(f)
	}
	return out
}

// takeForWrite finds what strikes the next piece of a stream.
func (t *faultTable) takeForWrite(verb, path string) writeSpoil {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out writeSpoil
	for _, f := range slices.Clone(t.active) {
		if !f.matches(verb, path) {
			continue
		}
		switch {
		case f.Kind == HalfBody && !out.half:
			out.half = true
		case f.Kind == DuplicateEvents && verb == "watch" && !out.twice:
			out.twice = true
		default:
			continue
		}
		t.use(f)
	}
	return out
}

// use counts one strike. Holds mu.
func (t *faultTable) use(f *activeFault) {
	if f.Times == 0 {
		return
	}
	f.Times--
	if f.Times == 0 {
		t.active = slices.DeleteFunc(t.active, func(other *activeFault) bool { return other == f })
	}
}

// applies tells whether a fault of the world is on for the object at path.
func (t *faultTable) applies(kind FaultKind, path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.active, func(f *activeFault) bool { return f.Kind == kind && f.path.MatchString(path) })
}

// add switches a fault on.
func (t *faultTable) add(f Fault) (Fault, error) {
	active, err := newActiveFault(f)
	if err != nil {
		return Fault{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if active.ID == "" {
		t.last++
		active.ID = fmt.Sprintf("fault-%d", t.last)
	}
	t.last = max(t.last, idNumber(active.ID))
	t.active = append(t.active, active)
	return active.Fault, nil
}

// remove switches off the fault with the id, or all for an empty one, and reports whether there was any.
func (t *faultTable) remove(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.active)
	t.active = slices.DeleteFunc(t.active, func(f *activeFault) bool { return id == "" || f.ID == id })
	return len(t.active) < before
}

func (t *faultTable) list() []Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Fault, len(t.active))
	for i, f := range t.active {
		out[i] = f.Fault
	}
	return out
}
