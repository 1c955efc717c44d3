package ccisim

import (
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RequestCount is how often a kind of request was answered in a way.
type RequestCount struct {
	Verb string `json:"verb"`
	// Resource is a plural, "pods/log", or empty for a path that the service does not know.
	Resource string `json:"resource"`
	Code     int    `json:"code"`
	// Lost says that the answer was never sent: see LoseAnswer.
	Lost  bool `json:"lost,omitempty"`
	Count int  `json:"count"`
}

// DroppedField is a field or query parameter that the service does not list, and took no notice of.
type DroppedField struct {
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field"`
}

// PodRecord is a Pod that existed at some time.
type PodRecord struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	UID         types.UID         `json:"uid"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     time.Time         `json:"created"`
	// Deleted is when the Pod was gone; nil while it exists.
	Deleted *time.Time `json:"deleted,omitempty"`
}

// maxDropped bounds what is remembered of dropped fields.
const maxDropped = 10000

// records is what a test asks afterwards. It has its own lock.
type records struct {
	mu       sync.Mutex
	requests map[RequestCount]int
	dropped  []DroppedField
	pods     []*PodRecord
	byUID    map[types.UID]*PodRecord
}

func newRecords() *records {
	return &records{requests: map[RequestCount]int{}, byUID: map[types.UID]*PodRecord{}}
}

func (r *records) countRequest(verb, resource string, code int, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[RequestCount{Verb: verb, Resource: resource, Code: code, Lost: lost}]++
}

func (r *records) countDropped(verb, resource, namespace, name string, fields []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range fields {
		if len(r.dropped) < maxDropped {
			r.dropped = append(r.dropped, DroppedField{verb, resource, namespace, name, f})
		}
	}
}

// podCreated remembers a Pod, once.
func (r *records) podCreated(record PodRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byUID[record.UID] == nil {
		r.byUID[record.UID] = &record
		r.pods = append(r.pods, &record)
	}
}

func (r *records) podDeleted(uid types.UID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if record := r.byUID[uid]; record != nil && record.Deleted == nil {
		record.Deleted = &at
	}
}

// Requests returns how often what was answered, in a fixed order.
func (s *Sim) Requests() []RequestCount {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	out := make([]RequestCount, 0, len(s.records.requests))
	for request, n := range s.records.requests {
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

// CountRequests adds up the answers with a verb, a resource and a code; empty or 0 is any.
func (s *Sim) CountRequests(verb, resource string, code int) int {
	total := 0
	for _, request := range s.Requests() {
		if (verb == "" || verb == request.Verb) && (resource == "" || resource == request.Resource) && (code == 0 || code == request.Code) {
			total += request.Count
		}
	}
	return total
}

// DroppedFields returns what bodies and queries held that the service does not list, oldest first, 10,000 at most.
func (s *Sim) DroppedFields() []DroppedField {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	return append([]DroppedField{}, s.records.dropped...)
}

// PodsEver returns every Pod that was ever created, in order: what is needed to prove that nothing was created twice or lost.
func (s *Sim) PodsEver() []PodRecord {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	out := make([]PodRecord, len(s.records.pods))
	for i, record := range s.records.pods {
		out[i] = *record
	}
	return out
}

// ForgetRequests sets the counts of requests and dropped fields back to nothing. Pods stay.
func (s *Sim) ForgetRequests() {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	clear(s.records.requests)
	s.records.dropped = nil
}

// CountPods returns how many Pods of a namespace are in a phase now.
func (s *Sim) CountPods(namespace string, phase corev1.PodPhase) int {
	s = s.holding(namespace)
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for k, e := range s.store.tables[pods].items {
		if pod := e.obj.(*Pod); k.namespace == namespace && pod.Status.Phase == phase {
			n++
		}
	}
	return n
}
