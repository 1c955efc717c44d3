package wayhome

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// Index knows the Pods that may return. It reads the same watch of all Pods as the ledger, so that it costs no request,
// and keeps some hundred bytes for each Pod that is on a virtual node or tolerates one.
type Index struct {
	mu   sync.Mutex
	pods map[types.UID]entry
}

// entry is what is kept of a Pod that is bound and active.
type entry struct {
	types.NamespacedName
	node     string
	revision policy.Revision
	// wayHome is the annotation of the Pod, empty if it has none.
	wayHome string
	// asked is when drain-back asked for the Pod, zero if it did not.
	asked  time.Time
	moving bool
}

// NewIndex returns an empty Index.
func NewIndex() *Index { return &Index{pods: map[types.UID]entry{}} }

// Store returns a store for a Reflector that fills another one too, before it fills the Index.
func (i *Index) Store(next cache.ReflectorStore) cache.ReflectorStore { return &store{i, next} }

type store struct {
	index *Index
	next  cache.ReflectorStore
}

var _ cache.ReflectorStore = (*store)(nil)

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error {
	err := s.next.Add(obj)
	s.index.observe(obj)
	return err
}

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error {
	err := s.next.Update(obj)
	s.index.observe(obj)
	return err
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	err := s.next.Delete(obj)
	if pod, ok := obj.(*corev1.Pod); ok {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		delete(s.index.pods, pod.UID)
	}
	return err
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, resourceVersion string) error {
	err := s.next.Replace(list, resourceVersion)
	s.index.mu.Lock()
	clear(s.index.pods)
	s.index.mu.Unlock()
	for _, obj := range list {
		s.index.observe(obj)
	}
	return err
}

// Resync implements cache.ReflectorStore.
func (s *store) Resync() error { return s.next.Resync() }

func (i *Index) observe(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	_, moving := policy.MovingHomeOf(pod)
	i.mu.Lock()
	defer i.mu.Unlock()
	if pod.Spec.NodeName == "" || !moving && (!policy.IsActive(pod) || !policy.ToleratesProvider(&pod.Spec)) {
		delete(i.pods, pod.UID)
		return
	}
	i.pods[pod.UID] = entry{
		NamespacedName: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, node: pod.Spec.NodeName,
		revision: policy.RevisionOf(pod), wayHome: pod.Annotations[policy.WayHomeAnnotation], asked: askedAt(pod),
		moving: moving,
	}
}

// drainBackFor is how long a request to drain back has an effect.
const drainBackFor = 24 * time.Hour

// askedAt returns when drain-back asked for a Pod. A request that is older than the Pod is that of another Pod: users
// put annotations into templates. One of the future is malformed.
func askedAt(pod *corev1.Pod) time.Time {
	asked, err := time.Parse(time.RFC3339, pod.Annotations[policy.DrainBackAnnotation])
	if err != nil || asked.Before(pod.CreationTimestamp.Time) {
		return time.Time{}
	}
	return asked
}

// drains reports whether a request of a time has an effect. The clock of the user may be ahead a little.
func drains(asked, now time.Time) bool {
	return !asked.IsZero() && now.Sub(asked) < drainBackFor && asked.Sub(now) < time.Hour
}

// all returns the records for which wanted returns true.
func (i *Index) all(wanted func(entry) bool) []entry {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []entry
	for _, r := range i.pods {
		if wanted(r) {
			found = append(found, r)
		}
	}
	return found
}

// any reports whether there is a entry for which wanted returns true.
func (i *Index) any(wanted func(entry) bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.pods {
		if wanted(r) {
			return true
		}
	}
	return false
}
