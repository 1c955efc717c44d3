package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// byWaiting indexes waiting Pods by namespace.
	byWaiting = "waiting"
	// byRevision indexes the Pods with a local quota that have a node by policy.Revision.
	byRevision = "revision"
	// byUnranked indexes by node the Pods that would be ranked if it is a virtual one.
	byUnranked = "unranked"
)

// Pods watches all Pods, once for all controllers.
type Pods struct {
	factory  informers.SharedInformerFactory
	informer cache.SharedIndexInformer
}

// NewPods makes the watch. It starts nothing.
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

// Run watches until ctx ends. It blocks.
func (p *Pods) Run(ctx context.Context) error {
	p.factory.StartWithContext(ctx)
	<-ctx.Done()
	p.factory.Shutdown()
	return nil
}

// Ready tells whether the cache is filled.
func (p *Pods) Ready() bool { return p.informer.HasSynced() }

// get returns the Pod, nil where there is none.
func (p *Pods) get(name cache.ObjectName) *corev1.Pod {
	object, ok, err := p.informer.GetStore().GetByKey(name.String())
	if err != nil || !ok {
		return nil
	}
	pod, _ := object.(*corev1.Pod)
	return pod
}

// named lists the Pods that an index has under a value.
func (p *Pods) named(index, value string) []cache.ObjectName {
	objects, err := p.informer.GetIndexer().ByIndex(index, value)
	if err != nil { // The index is made in NewPods: there is no other error.
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

// those lists the Pods for which is holds: it looks at every one.
func (p *Pods) those(is func(*corev1.Pod) bool) []cache.ObjectName {
	var names []cache.ObjectName
	for _, object := range p.informer.GetStore().List() {
		if pod, ok := object.(*corev1.Pod); ok && is(pod) {
			names = append(names, cache.MetaObjectToName(pod))
		}
	}
	return names
}

// replicas counts the Pods of a revision with a local quota that are on local nodes, as far as the watch has seen. The extender keeps
// the count that decides (extender/ledger): this one is for words.
func (p *Pods) replicas(of policy.Revision, isVirtual func(node string) bool) int {
	objects, err := p.informer.GetIndexer().ByIndex(byRevision, of.String())
	if err != nil { // As in named.
		return 0
	}
	count := 0
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok && !isVirtual(pod.Spec.NodeName) {
			count++
		}
	}
	return count
}

// InCloud lists the Pods that run on virtual nodes of Spillway's own and are not being deleted, in the order of their names.
func (p *Pods) InCloud(nodes *VirtualNodes) []cache.ObjectName {
	return slices.SortedFunc(slices.Values(p.those(func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodRunning && isActive(pod) && nodes.isOurs(pod.Spec.NodeName)
	})), func(a, b cache.ObjectName) int { return strings.Compare(a.String(), b.String()) })
}

// slim leaves of a Pod what the controllers read. Of one that has its node that is little, and most Pods have one; one whose keys are
// malformed, or mean nothing for its scheduling group, is still to be judged.
func slim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	pod.ManagedFields = nil
	if pod.Spec.NodeName == "" || isMalformed(pod) || isGrouped(pod) {
		return pod, nil
	}
	pod.Annotations = only(pod.Annotations, policy.DeletionCostAnnotation, policy.LocalReplicasAnnotation)
	pod.Labels = only(pod.Labels, appsv1.ControllerRevisionHashLabelKey, policy.BurstLabel, policy.BurstLabelAlias)
	pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
	return pod, nil
}

// only is what a map has under the keys, nil where it has none.
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

// isActive tells whether the Pod is there to stay: neither finished nor being deleted.
func isActive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// isMalformed tells whether a key of the Pod's own cannot be read. Of a DaemonSet's Pods none means anything.
func isMalformed(pod *corev1.Pod) bool {
	return isActive(pod) && !isControlledBy(pod, "DaemonSet") && policy.CheckKeys(pod) != nil
}

// isWaiting tells whether no local node fits the Pod, as far as the scheduler has found. Not so while preemption makes room for
// it, nor when the scheduler could not find out (reason SchedulerError). Pods of a DaemonSet wait for one certain node.
func isWaiting(pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 ||
		pod.Status.Phase != corev1.PodPending || pod.Status.NominatedNodeName != "" || isControlledBy(pod, "DaemonSet") {
		return false
	}
	scheduled := conditionOf(pod, corev1.PodScheduled)
	return scheduled != nil && scheduled.Status == corev1.ConditionFalse && scheduled.Reason == corev1.PodReasonUnschedulable
}

// conditionOf returns the Pod's condition of a type, nil where there is none.
func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// isUnranked tells whether the Pod is to be ranked for scale-in if its node is a virtual one: only ReplicaSets heed the rank.
func isUnranked(pod *corev1.Pod) bool {
	_, ranked := pod.Annotations[policy.DeletionCostAnnotation]
	return pod.Spec.NodeName != "" && !ranked && isControlledBy(pod, "ReplicaSet") && isActive(pod)
}

func isControlledBy(pod *corev1.Pod, kind string) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == kind
}

func indexWaiting(object any) ([]string, error) {
	if pod, ok := object.(*corev1.Pod); ok && isWaiting(pod) {
		return []string{pod.Namespace}, nil
	}
	return nil, nil
}

func indexRevision(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || !isActive(pod) {
		return nil, nil
	}
	if _, counted := pod.Annotations[policy.LocalReplicasAnnotation]; !counted {
		return nil, nil
	}
	return []string{policy.RevisionOf(pod).String()}, nil
}

func indexUnranked(object any) ([]string, error) {
	if pod, ok := object.(*corev1.Pod); ok && isUnranked(pod) {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}
