package faults

import (
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Table holds the active faults, oldest first, and the policies. All methods may be called from any goroutine. Its lock
// is never held while another is taken.
type Table struct {
	mu       sync.Mutex
	last     int
	active   []*activeFault
	policies Policies
}

// NewTable returns a table without faults.
func NewTable(policies Policies) *Table { return &Table{policies: policies.WithDefaults()} }

// Policies returns the present policies.
func (t *Table) Policies() Policies {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.policies
}

// SetPolicies replaces the policies. An unset field gets its default.
func (t *Table) SetPolicies(policies Policies) error {
	if errs := policies.Validate(field.NewPath("policies")); len(errs) > 0 {
		return errs.ToAggregate()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.policies = policies.WithDefaults()
	return nil
}

// RequestFaults is what the faults do to one request.
type RequestFaults struct {
	Latency time.Duration
	// Refusal is the fault whose error is the response, nil if there is none.
	Refusal    *Fault
	LoseAnswer bool
	HalfBody   bool
}

// WriteFaults is what the faults do to one piece of a stream.
type WriteFaults struct{ Half, Twice bool }

// isStream reports whether the response to a verb is a stream, in which faults apply to the pieces.
func isStream(verb string) bool { return verb == "watch" || verb == "log" }

// ForRequest returns what applies to a request, and counts it against the limits of the faults.
func (t *Table) ForRequest(verb, path string) RequestFaults {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out RequestFaults
	for _, f := range slices.Clone(t.active) {
		if !slices.Contains(requestKinds, f.Kind) || !f.matches(verb, path) {
			continue
		}
		switch {
		case f.Kind == Latency:
			out.Latency += f.Delay.Duration
		case f.Kind == LoseAnswer && !out.LoseAnswer:
			out.LoseAnswer = true
		case f.Kind == HalfBody && !isStream(verb) && !out.HalfBody:
			out.HalfBody = true
		case out.Refusal == nil && f.refuses():
			refusal := f.Fault
			out.Refusal = &refusal
		default:
			continue
		}
		t.active = used(t.active, f)
	}
	return out
}

// ForWrite returns what applies to the next piece of a stream, and counts it against the limits of the faults.
func (t *Table) ForWrite(verb, path string) WriteFaults {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out WriteFaults
	for _, f := range slices.Clone(t.active) {
		if !f.matches(verb, path) {
			continue
		}
		switch {
		case f.Kind == HalfBody && !out.Half:
			out.Half = true
		case f.Kind == DuplicateEvents && verb == "watch" && !out.Twice:
			out.Twice = true
		default:
			continue
		}
		t.active = used(t.active, f)
	}
	return out
}

// used counts one use of a fault, and returns the active faults without it if that was the last one.
func used(active []*activeFault, f *activeFault) []*activeFault {
	if f.Times == 0 {
		return active
	}
	f.Times--
	if f.Times > 0 {
		return active
	}
	return slices.DeleteFunc(active, func(other *activeFault) bool { return other == f })
}

// Applies reports whether a fault of the cloud is active for the object at path.
func (t *Table) Applies(kind Kind, path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.active, func(f *activeFault) bool { return f.Kind == kind && f.path.MatchString(path) })
}

// Quotas returns the limits of the active Quotas for the object at path.
func (t *Table) Quotas(path string) []corev1.ResourceList {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []corev1.ResourceList
	for _, f := range t.active {
		if f.Kind == Quota && f.path.MatchString(path) {
			out = append(out, f.Hard.DeepCopy())
		}
	}
	return out
}

// Add activates a fault, and returns it with its ID. It keeps an ID that the fault already has.
func (t *Table) Add(f Fault) (Fault, error) {
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

// Remove deactivates the fault with the ID, or all faults if the ID is empty, and reports whether there was any.
func (t *Table) Remove(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.active)
	t.active = slices.DeleteFunc(t.active, func(f *activeFault) bool { return id == "" || f.ID == id })
	return len(t.active) < before
}

// List returns the active faults, oldest first.
func (t *Table) List() []Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Fault, len(t.active))
	for i, f := range t.active {
		out[i] = f.Fault
	}
	return out
}
