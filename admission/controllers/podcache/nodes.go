package podcache

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// VirtualNodes caches the metadata of all virtual nodes, also of those of other systems.
type VirtualNodes struct {
	factory  metadatainformer.SharedInformerFactory
	informer cache.SharedIndexInformer
}

// NewVirtualNodes returns the cache. It starts nothing.
func NewVirtualNodes(client metadata.Interface) *VirtualNodes {
	factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, metav1.NamespaceAll,
		func(o *metav1.ListOptions) { o.LabelSelector = policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual })
	informer := factory.ForResource(corev1.SchemeGroupVersion.WithResource("nodes")).Informer()
	return &VirtualNodes{factory: factory, informer: informer}
}

// Run fills the cache and keeps it up to date until ctx ends. It blocks.
func (n *VirtualNodes) Run(ctx context.Context) error {
	n.factory.Start(ctx.Done())
	<-ctx.Done()
	n.factory.Shutdown()
	return nil
}

// Ready reports whether the cache is filled.
func (n *VirtualNodes) Ready() bool { return n.informer.HasSynced() }

// OnNew calls the handler for every virtual node of Spillway, until stop is called: when it is added and when it gets
// the label that makes it one. The handler must not block.
func (n *VirtualNodes) OnNew(handler func()) (stop func() error, err error) {
	return handle(n.informer, "virtual nodes", cache.ResourceEventHandlerFuncs{
		AddFunc: func(node any) {
			if isOurs(node) {
				handler()
			}
		},
		UpdateFunc: func(before, after any) {
			if isOurs(after) && !isOurs(before) {
				handler()
			}
		},
	})
}

// OnChange calls the handler, until stop is called, when what virtual nodes of Spillway exclude may have changed: one
// is added or deleted, or its labels change. The handler must not block.
func (n *VirtualNodes) OnChange(handler func()) (stop func() error, err error) {
	one := func(object any) {
		if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = tombstone.Obj
		}
		if isOurs(object) {
			handler()
		}
	}
	return handle(n.informer, "virtual nodes", cache.ResourceEventHandlerFuncs{
		AddFunc: one, DeleteFunc: one,
		UpdateFunc: func(before, after any) {
			if (isOurs(before) || isOurs(after)) && !maps.Equal(labelsOf(before), labelsOf(after)) {
				handler()
			}
		},
	})
}

func labelsOf(object any) map[string]string {
	node, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil
	}
	return node.Labels
}

// Ours returns what decisions depend on of the virtual nodes of Spillway, in the order of their names. The caller must
// not change the labels.
func (n *VirtualNodes) Ours() []policy.VirtualNode {
	var found []policy.VirtualNode
	for _, object := range n.informer.GetStore().List() {
		if node, ok := object.(*metav1.PartialObjectMetadata); ok && isOurs(node) {
			found = append(found, policy.VirtualNode{Name: node.Name, Labels: node.Labels})
		}
	}
	slices.SortFunc(found, func(a, b policy.VirtualNode) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// Has reports whether there is a virtual node with the name, of whatever system: its Pods are not local.
func (n *VirtualNodes) Has(name string) bool {
	_, ok, err := n.informer.GetStore().GetByKey(name)
	return err == nil && ok
}

// Names lists the virtual nodes of Spillway.
func (n *VirtualNodes) Names() []string {
	return slices.DeleteFunc(n.informer.GetStore().ListKeys(), func(name string) bool { return !n.IsOurs(name) })
}

// IsOurs reports whether the node with the name is a virtual node of Spillway.
func (n *VirtualNodes) IsOurs(name string) bool {
	object, ok, err := n.informer.GetStore().GetByKey(name)
	return err == nil && ok && isOurs(object)
}

func isOurs(object any) bool {
	node, ok := object.(*metav1.PartialObjectMetadata)
	return ok && policy.IsOurNode(node.Labels)
}
