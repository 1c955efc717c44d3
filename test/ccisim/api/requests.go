package api

import (
	"slices"
	"sort"
	"sync"
)

// RequestCount is how often a kind of request got a kind of response.
type RequestCount struct {
	Verb string `json:"verb"`
	// Resource is a plural, "pods/log", or empty for a path that the service does not know.
	Resource string `json:"resource"`
	Code     int    `json:"code"`
	// Lost is true if the response was never sent: see faults.LoseAnswer.
	Lost  bool `json:"lost,omitempty"`
	Count int  `json:"count"`
}

// DroppedField is a field or query parameter that the service does not list, and ignored.
type DroppedField struct {
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field"`
}

// maxDropped bounds the recorded dropped fields.
const maxDropped = 10000

// Requests records requests for tests. Its methods may be called from any goroutine.
type Requests struct {
	mu      sync.Mutex
	counts  map[RequestCount]int
	dropped []DroppedField
}

// NewRequests returns an empty record.
func NewRequests() *Requests { return &Requests{counts: map[RequestCount]int{}} }

// Counts returns the counts of all requests, in a fixed order.
func (r *Requests) Counts() []RequestCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]RequestCount, 0, len(r.counts))
	for request, n := range r.counts {
		request.Count = n
		out = append(out, request)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		switch {
		case a.Resource != b.Resource:
			return a.Resource < b.Resource
		case a.Verb != b.Verb:
			return a.Verb < b.Verb
		default:
			return a.Code < b.Code
		}
	})
	return out
}

// Total returns the number of requests with a verb, a resource and a status code. Empty and 0 match any.
func (r *Requests) Total(verb, resource string, code int) int {
	total := 0
	for _, request := range r.Counts() {
		if (verb == "" || verb == request.Verb) && (resource == "" || resource == request.Resource) &&
			(code == 0 || code == request.Code) {
			total += request.Count
		}
	}
	return total
}

// DroppedFields returns the dropped fields, oldest first, 10,000 at most.
func (r *Requests) DroppedFields() []DroppedField {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat([]DroppedField{}, r.dropped)
}

// Reset removes all counts and dropped fields.
func (r *Requests) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.counts)
	r.dropped = nil
}

func (r *Requests) count(verb, resource string, code int, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[RequestCount{Verb: verb, Resource: resource, Code: code, Lost: lost}]++
}

func (r *Requests) countDropped(verb, resource, namespace, name string, fields []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range fields {
		if len(r.dropped) < maxDropped {
			r.dropped = append(r.dropped, DroppedField{verb, resource, namespace, name, f})
		}
	}
}
