package podcache

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// VirtualNodes caches the metadata of all virtual nodes.
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

// Handle calls the handlers for every virtual node and for every change, until stop is called. The handlers must not
// block.
func (n *VirtualNodes) Handle(handlers cache.ResourceEventHandler) (stop func() error, err error) {
	return handle(n.informer, "virtual nodes", handlers)
}

// Has reports whether there is a virtual node with the name.
func (n *VirtualNodes) Has(name string) bool {
	_, ok, err := n.informer.GetStore().GetByKey(name)
	return err == nil && ok
}

// Names lists the virtual nodes.
func (n *VirtualNodes) Names() []string { return n.informer.GetStore().ListKeys() }

// IsOurs reports whether the node with the name is a virtual node of Spillway. Other systems use the same label.
func (n *VirtualNodes) IsOurs(name string) bool {
	object, ok, err := n.informer.GetStore().GetByKey(name)
	node, known := object.(*metav1.PartialObjectMetadata)
	return err == nil && ok && known && policy.IsOurNode(node.Labels)
}
