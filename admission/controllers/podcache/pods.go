// Package podcache caches Pods and virtual nodes for the controllers. One watch serves all controllers, and the cache
// keeps of each Pod only what they read. The package also holds the predicates that its indexes are built on.
package podcache

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// byWaiting indexes waiting Pods by namespace.
	byWaiting = "waiting"
	// byRevision indexes the active Pods by policy.Revision. They count whether or not they have shares themselves:
	// their namespace may, or they are older than the shares of their workload.
	byRevision = "revision"
	// byUnranked indexes by node the Pods that need a deletion cost if the node is a virtual one.
	byUnranked = "unranked"
)

// Pods caches all Pods.
type Pods struct {
	factory  informers.SharedInformerFactory
	informer cache.SharedIndexInformer
}

// NewPods returns the cache. It starts nothing.
func NewPods(client kubernetes.Interface) (*Pods, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim))
	informer := factory.Core().V1().Pods().Informer()
	if err := informer.AddIndexers(cache.Indexers{
		byWaiting: indexWaiting, byRevision: indexRevision, byUnranked: indexUnranked,
	}); err != nil {
		return nil, fmt.Errorf("indexing Pods: %w", err)
	}
	return &Pods{factory: factory, informer: informer}, nil
}

// Run fills the cache and keeps it up to date until ctx ends. It blocks.
func (p *Pods) Run(ctx context.Context) error {
	p.factory.StartWithContext(ctx)
	<-ctx.Done()
	p.factory.Shutdown()
	return nil
}

// Ready reports whether the cache is filled.
func (p *Pods) Ready() bool { return p.informer.HasSynced() }

// Handle calls the handlers for every Pod and for every change, until stop is called. The handlers must not block.
func (p *Pods) Handle(handlers cache.ResourceEventHandler) (stop func() error, err error) {
	return handle(p.informer, "Pods", handlers)
}

func handle(
	informer cache.SharedIndexInformer, what string, handlers cache.ResourceEventHandler,
) (stop func() error, err error) {
	registration, err := informer.AddEventHandler(handlers)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", what, err)
	}
	return func() error { return informer.RemoveEventHandler(registration) }, nil
}

// Get returns the Pod, nil if there is none. The caller must not change it.
func (p *Pods) Get(name cache.ObjectName) *corev1.Pod {
	object, ok, err := p.informer.GetStore().GetByKey(name.String())
	if err != nil || !ok {
		return nil
	}
	pod, _ := object.(*corev1.Pod)
	return pod
}

// Waiting lists the Pods of a namespace for which IsWaiting holds.
func (p *Pods) Waiting(namespace string) []cache.ObjectName { return p.indexed(byWaiting, namespace) }

// InNamespace lists the Pods of a namespace for which a predicate holds.
func (p *Pods) InNamespace(namespace string, holds func(*corev1.Pod) bool) []cache.ObjectName {
	objects, err := p.informer.GetIndexer().ByIndex(cache.NamespaceIndex, namespace)
	if err != nil { // The informer has this index.
		return nil
	}
	return selected(objects, holds)
}

// Unranked lists the Pods on a node for which IsUnranked holds.
func (p *Pods) Unranked(node string) []cache.ObjectName { return p.indexed(byUnranked, node) }

func (p *Pods) indexed(index, value string) []cache.ObjectName {
	objects, err := p.informer.GetIndexer().ByIndex(index, value)
	if err != nil { // The index exists since NewPods. There is no other error.
		return nil
	}
	names := make([]cache.ObjectName, 0, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			names = append(names, cache.MetaObjectToName(pod))
		}
	}
	return names
}

// Select lists the Pods for which a predicate holds. It reads every Pod.
func (p *Pods) Select(holds func(*corev1.Pod) bool) []cache.ObjectName {
	return selected(p.informer.GetStore().List(), holds)
}

func selected(objects []any, holds func(*corev1.Pod) bool) []cache.ObjectName {
	var names []cache.ObjectName
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok && holds(pod) {
			names = append(names, cache.MetaObjectToName(pod))
		}
	}
	return names
}

// Replicas counts the active Pods of a revision, and those of them that are on local nodes, as far as the cache has
// seen. Use it for messages only: the count that decides is in extender/ledger.
func (p *Pods) Replicas(of policy.Revision, nodes *VirtualNodes) (all, local int) {
	objects, err := p.informer.GetIndexer().ByIndex(byRevision, of.String())
	if err != nil { // As in indexed.
		return 0, 0
	}
	for _, object := range objects {
		pod, ok := object.(*corev1.Pod)
		if ok && pod.Spec.NodeName != "" && !nodes.Has(pod.Spec.NodeName) {
			local++
		}
	}
	return len(objects), local
}

// InCloud lists the running Pods on virtual nodes of Spillway that are not being deleted, sorted by name.
func (p *Pods) InCloud(nodes *VirtualNodes) []cache.ObjectName {
	return slices.SortedFunc(slices.Values(p.Select(func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodRunning && policy.IsActive(pod) && nodes.IsOurs(pod.Spec.NodeName)
	})), func(a, b cache.ObjectName) int { return strings.Compare(a.String(), b.String()) })
}

// slim removes from a Pod what the controllers do not read. Most Pods have a node, and little of those is needed. The
// exceptions are Pods that still need to be evaluated: those with malformed keys, and those whose quota has no effect
// because of their scheduling group.
func slim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	pod.ManagedFields = nil
	if pod.Spec.NodeName == "" || IsMalformed(pod) || HasGroupQuota(pod) {
		return pod, nil
	}
	pod.Annotations = only(pod.Annotations, kept...)
	pod.Labels = only(pod.Labels, appsv1.ControllerRevisionHashLabelKey, policy.BurstLabel, policy.BurstLabelAlias)
	pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
	return pod, nil
}

// kept are the annotations of Pods with a node that the controllers read, and that policy.RevisionOf reads.
var kept = append(policy.InheritedAnnotations(),
	policy.InheritedAnnotation, policy.DeletionCostAnnotation, policy.MovingHomeAnnotation)

// only returns the entries of a map that have one of the keys, nil if there are none.
func only(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, ok := all[key]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}

func indexWaiting(object any) ([]string, error) {
	if pod, ok := object.(*corev1.Pod); ok && IsWaiting(pod) {
		return []string{pod.Namespace}, nil
	}
	return nil, nil
}

func indexRevision(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok || !policy.IsActive(pod) {
		return nil, nil
	}
	return []string{policy.RevisionOf(pod).String()}, nil
}

func indexUnranked(object any) ([]string, error) {
	if pod, ok := object.(*corev1.Pod); ok && IsUnranked(pod) {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}
