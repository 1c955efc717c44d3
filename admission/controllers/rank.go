package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

const rankWorkers = 32

// VirtualNodes watches the nodes that stand for the cloud.
type VirtualNodes struct {
	factory  metadatainformer.SharedInformerFactory
	informer cache.SharedIndexInformer
}

// NewVirtualNodes makes the watch. It starts nothing.
func NewVirtualNodes(client metadata.Interface) *VirtualNodes {
	factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.LabelSelector = policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual
	})
	return &VirtualNodes{factory: factory, informer: factory.ForResource(corev1.SchemeGroupVersion.WithResource("nodes")).Informer()}
}

// Run watches until ctx ends. It blocks.
func (n *VirtualNodes) Run(ctx context.Context) error {
	n.factory.Start(ctx.Done())
	<-ctx.Done()
	n.factory.Shutdown()
	return nil
}

// Ready tells whether the cache is filled.
func (n *VirtualNodes) Ready() bool { return n.informer.HasSynced() }

func (n *VirtualNodes) has(name string) bool {
	_, ok, err := n.informer.GetStore().GetByKey(name)
	return err == nil && ok
}

// isOurs tells whether the node is a virtual node of Spillway's own.
func (n *VirtualNodes) isOurs(name string) bool {
	object, ok, err := n.informer.GetStore().GetByKey(name)
	node, known := object.(*metav1.PartialObjectMetadata)
	return err == nil && ok && known && policy.IsOurNode(node.Labels)
}

// Rank writes a negative pod-deletion-cost on Pods of ReplicaSets that run on virtual nodes, so that a stock ReplicaSet
// controller scales in the cloud first. A value that is there, the user's or another controller's, stays.
type Rank struct {
	loop    loop
	client  kubernetes.Interface
	pods    *Pods
	nodes   *VirtualNodes
	metrics Metrics
}

// NewRank makes the controller. resync is how often every Pod is looked at again though nothing was seen to change. It starts
// nothing.
func NewRank(client kubernetes.Interface, pods *Pods, nodes *VirtualNodes, resync time.Duration, metrics Metrics, logger *slog.Logger) *Rank {
	r := &Rank{client: client, pods: pods, nodes: nodes, metrics: metrics}
	r.loop = loop{
		name: "rank", workers: rankWorkers, resync: resync, reconcile: r.reconcile, backlog: r.backlog,
		again: make(chan struct{}, 1), failed: metrics.failed("rank"), logger: logger,
	}
	return r
}

func (r *Rank) backlog() []cache.ObjectName {
	var names []cache.ObjectName
	for _, node := range r.nodes.informer.GetStore().ListKeys() {
		names = append(names, r.pods.named(byUnranked, node)...)
	}
	return names
}

// Run works until ctx ends. It blocks. It may be called again afterwards, but not twice at a time.
func (r *Rank) Run(ctx context.Context) error {
	q := r.loop.open()
	saw := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && isUnranked(pod) && r.nodes.has(pod.Spec.NodeName) {
			q.Add(cache.MetaObjectToName(pod))
		}
	}
	ofPods, err := r.pods.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: saw, UpdateFunc: func(_, pod any) { saw(pod) }})
	if err != nil {
		return fmt.Errorf("watching Pods: %w", err)
	}
	// A Pod may be seen on its node before the node is.
	ofNodes, err := r.nodes.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { r.loop.lookAgain() }})
	if err != nil {
		return errors.Join(fmt.Errorf("watching nodes: %w", err), r.pods.informer.RemoveEventHandler(ofPods))
	}
	r.loop.run(ctx, q)
	return errors.Join(r.pods.informer.RemoveEventHandler(ofPods), r.nodes.informer.RemoveEventHandler(ofNodes))
}

func (r *Rank) reconcile(ctx context.Context, name cache.ObjectName) error {
	pod := r.pods.get(name)
	if pod == nil || !isUnranked(pod) || !r.nodes.has(pod.Spec.NodeName) {
		return nil
	}
	patch, err := rankPatch(pod)
	if err != nil {
		return err
	}
	_, err = r.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: component})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", policy.DeletionCostAnnotation, err)
	}
	r.metrics.Ranks.Inc()
	return nil
}

// rankPatch holds for the Pod as it was seen only: if anyone has written since, the user say, it is a conflict.
func rankPatch(pod *corev1.Pod) ([]byte, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion,
		"annotations": map[string]string{policy.DeletionCostAnnotation: policy.CloudDeletionCost},
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}
