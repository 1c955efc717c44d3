package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/policy"
)

// The ledger is the store of its own Reflector: each watch event is counted before the next one is read, and there is
// no queue in between.
var _ cache.ReflectorStore = (*store)(nil)

type store struct {
	*Ledger
	logger *slog.Logger
}

// Store returns the store for a Reflector of all Pods.
func (l *Ledger) Store(logger *slog.Logger) cache.ReflectorStore { return &store{l, logger} }

// Run lists and watches all Pods until ctx ends. It blocks.
func (l *Ledger) Run(ctx context.Context, client kubernetes.Interface, logger *slog.Logger) {
	kube.Follow(ctx, "ledger", client, client.CoreV1().Pods(metav1.NamespaceAll), &corev1.Pod{}, l.Store(logger))
}

// RunRequeue calls RequeueWaiting at every interval until ctx ends. It blocks.
func (l *Ledger) RunRequeue(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.RequeueWaiting()
		}
	}
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error {
	pod, err := asPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(pod)
	s.advance(pod.ResourceVersion)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	pod, err := asPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.pods[pod.UID]; ok {
		s.forget(e)
	}
	s.advance(pod.ResourceVersion)
	return nil
}

// Replace implements cache.ReflectorStore. The Reflector calls it with a full list, at the start and after a watch that
// could not be resumed.
func (s *store) Replace(list []any, resourceVersion string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := make(map[types.UID]bool, len(list))
	for _, obj := range list {
		pod, err := asPod(obj)
		if err != nil {
			return err
		}
		listed[pod.UID] = true
		s.observe(pod)
	}
	for uid, e := range s.pods {
		if !listed[uid] {
			s.forget(e)
		}
	}
	s.synced = true
	s.advance(resourceVersion)
	s.logger.Info("filled the ledger", "pods", len(list), "resourceVersion", resourceVersion)
	return nil
}

// Resync implements cache.ReflectorStore. It does nothing.
func (s *store) Resync() error { return nil }

func asPod(obj any) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("reading a watch event: expected a Pod, got %T", obj)
	}
	return pod, nil
}

// observe updates the entry of a Pod.
func (l *Ledger) observe(pod *corev1.Pod) {
	e, ok := l.pods[pod.UID]
	if !ok {
		e = &entry{ref: RefOf(pod), account: l.account(pod.Namespace)}
		e.account.pods++
		l.pods[pod.UID] = e
	}
	if key := policy.RevisionOf(pod); !ok || key != e.revision.key {
		if ok {
			l.leaveRevision(e) // A change of labels can release or adopt a Pod. Its slot goes with it.
			l.part(e)
		}
		l.join(e, workloadOf(pod))
		l.enterRevision(e, key)
	}
	e.revision.shares = sharesOf(pod, l.billing.Annotations(pod.Namespace))
	l.measure(e, pod)
	l.countNode(e, -1)
	if pod.Spec.NodeName != "" || !policy.IsActive(pod) {
		e.parked = false
		l.leave(e) // First: a Pod that does not wait any more must not make others wait less.
	}
	l.change(e, func() {
		e.node = pod.Spec.NodeName
		e.active, e.ended = policy.IsActive(pod), policy.HasEnded(pod)
		e.local.reserved = e.node == "" && (e.local.reserved || hasLocalSlot(pod) && !e.local.revoked)
		e.cloud.reserved = e.node == "" && (e.cloud.reserved || hasCloudSlot(pod) && !e.cloud.revoked)
	})
	e.refused = e.node == "" && e.active && policy.RefusedByExtender(pod)
	e.priority = PriorityOf(pod)
	l.countNode(e, +1)
}

// enterRevision makes an entry part of a revision.
func (l *Ledger) enterRevision(e *entry, key policy.Revision) {
	rev, ok := l.revisions[key]
	if !ok {
		rev = &revision{key: key}
		l.revisions[key] = rev
	}
	rev.pods++
	rev.workload = e.workload
	e.revision = rev
	if l.countReplica(e) {
		l.requeueForShares(rev)
	}
}

// leaveRevision removes an entry from its revision.
func (l *Ledger) leaveRevision(e *entry) {
	rev := e.revision
	l.leaveShares(e)
	e.count(standing{})
	if rev.pods--; rev.pods == 0 {
		delete(l.revisions, rev.key)
		return
	}
	l.requeueForShares(rev)
}

// account returns the account of a namespace.
func (l *Ledger) account(namespace string) *account {
	a, ok := l.accounts[namespace]
	if !ok {
		a = &account{namespace: namespace}
		l.accounts[namespace] = a
	}
	return a
}

func (l *Ledger) forget(e *entry) {
	l.leave(e)
	l.countNode(e, -1)
	l.change(e, func() { e.active, e.ended = false, true })
	l.part(e)
	l.leaveRevision(e)
	delete(l.pods, e.ref.UID)
	if e.account.pods--; e.account.pods == 0 {
		delete(l.accounts, e.account.namespace)
	}
}

// countNode adds by, which is 1 or -1, to the counts of the active Pod's node.
func (l *Ledger) countNode(e *entry, by int) {
	if !e.active || e.node == "" {
		return
	}
	shift(l.loads, e.node, by)
	if l.isLocal(e) {
		shift(l.local, e.priority, by)
	}
}

// shift changes a count and deletes it at zero.
func shift[K comparable](counts map[K]int, key K, by int) {
	if counts[key] += by; counts[key] == 0 {
		delete(counts, key)
	}
}

// PriorityOf returns the priority of a Pod, 0 if it has none.
func PriorityOf(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// advance records the resource version that has been counted, and notifies the callers of WaitFor.
func (l *Ledger) advance(resourceVersion string) {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil || version < l.version {
		version = l.version // A list may be older than an event. The version never goes back.
	}
	l.version = version
	l.advanced.Notify()
}
