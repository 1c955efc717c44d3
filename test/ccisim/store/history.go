package store

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// PodRecord is a Pod that existed at some time.
type PodRecord struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	UID         types.UID         `json:"uid"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     time.Time         `json:"created"`
	// Deleted is when the Pod was removed, nil while it exists.
	Deleted *time.Time `json:"deleted,omitempty"`
}

func recordOf(pod *objects.Pod) PodRecord {
	return PodRecord{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Labels: pod.Labels, Annotations: pod.Annotations,
		Created: pod.CreationTimestamp.Time,
	}
}

// PodHistory records every Pod that ever existed in an account. It has a lock of its own: both generations write to it.
type PodHistory struct {
	mu      sync.Mutex
	records []*PodRecord
	byUID   map[types.UID]*PodRecord
}

// NewPodHistory returns an empty history.
func NewPodHistory() *PodHistory { return &PodHistory{byUID: map[types.UID]*PodRecord{}} }

// All returns every Pod in the order of creation.
func (h *PodHistory) All() []PodRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]PodRecord, len(h.records))
	for i, record := range h.records {
		out[i] = *record
	}
	return out
}

// created adds a Pod, once.
func (h *PodHistory) created(record PodRecord) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byUID[record.UID] == nil {
		h.byUID[record.UID] = &record
		h.records = append(h.records, &record)
	}
}

func (h *PodHistory) deleted(uid types.UID, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if record := h.byUID[uid]; record != nil && record.Deleted == nil {
		record.Deleted = &at
	}
}
