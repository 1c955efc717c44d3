// Package nodes knows which nodes of the cluster are local and which are virtual. It keeps the name and the class of
// each node, the labels of virtual nodes, and no Node objects.
package nodes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/extender/slowcall"
	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/policy"
)

// Class is the class of a node.
type Class int

const (
	// Unknown means that no node of this name has been seen.
	Unknown Class = iota
	// Local is a machine of the cluster.
	Local
	// Virtual is a node of Spillway that stands for the cloud.
	Virtual
	// Foreign is a node that claims to stand for a cloud, but not for Spillway's: managed Pods do not go there, and its
	// Pods are not local replicas.
	Foreign
)

// Nodes is the set of all nodes. A watch of their metadata keeps it up to date. Reading it takes no lock.
type Nodes struct {
	changed func()

	mu      sync.Mutex // orders writers
	classes atomic.Pointer[map[string]Class]
	virtual map[string]virtualNode // guarded by mu
	state   atomic.Pointer[virtualState]
	synced  atomic.Bool
	// events notifies callers of Await. They wait for a name, which most events do not concern: each is a change of
	// some node.
	events *slowcall.Events[string]
}

// New returns an empty set.
func New() *Nodes {
	n := &Nodes{changed: func() {}, events: slowcall.NewEvents[string]().DespiteEvents()}
	n.classes.Store(&map[string]Class{})
	n.virtual = map[string]virtualNode{}
	n.state.Store(&virtualState{})
	return n
}

// OnVirtualChange registers the function that is called after a node has become or stopped being virtual or foreign. A
// new local node changes no Pod's class, because an unknown node counts as local. Call it before Run, once.
func (n *Nodes) OnVirtualChange(changed func()) { n.changed = changed }

// View is the set at one moment. It never changes.
type View map[string]Class

// View returns the current set.
func (n *Nodes) View() View { return *n.classes.Load() }

// IsVirtual reports whether a node is virtual. An unknown node is not.
func (n *Nodes) IsVirtual(name string) bool { return n.View()[name] == Virtual }

// IsLocal reports whether a node is local. An unknown node counts as local.
func (n *Nodes) IsLocal(name string) bool {
	class := n.View()[name]
	return class == Local || class == Unknown
}

// virtualNode is a virtual node of Spillway that exists.
type virtualNode struct {
	policy.VirtualNode
	// locked reports whether its cloud is sold out, and until is when the lock ends.
	locked bool
	until  string
}

// virtualState is what readers know of the virtual nodes of Spillway.
type virtualState struct {
	ours  []policy.VirtualNode
	locks map[string]string
}

// Ours returns the virtual nodes of Spillway that exist, in the order of their names. The caller must not change them.
func (n *Nodes) Ours() []policy.VirtualNode { return n.state.Load().ours }

// Locks returns when the locks of the virtual nodes of Spillway end that vnode has locked because the cloud is sold
// out (policy.SoldOutUntilAnnotation), by their names. The caller must not change it.
func (n *Nodes) Locks() map[string]string { return n.state.Load().locks }

// SoldOut reports whether vnode has locked every virtual node of Spillway, and there is one.
func (n *Nodes) SoldOut() bool {
	state := n.state.Load()
	return len(state.ours) > 0 && len(state.locks) == len(state.ours)
}

// Synced reports whether the set has been filled.
func (n *Nodes) Synced() bool { return n.synced.Load() }

// Await returns a view that contains all names. It waits for names that are unknown, because the scheduler may have
// seen a new node a moment before. If ctx ends, it returns an *UnknownNodeError for one of them.
//
// After it has waited for a name until the deadline, it does not wait for that name again until another node appears:
// the scheduler sends the name of a new node with every Pod, and all Pods would wait.
func (n *Nodes) Await(ctx context.Context, names []string) (View, error) {
	var view View
	var missing string
	err := n.events.Wait(ctx, func() (string, bool) {
		view = n.View()
		missing = view.firstUnknown(names)
		return missing, missing == ""
	})
	if err != nil {
		return nil, &UnknownNodeError{Name: missing}
	}
	return view, nil
}

// With returns a view that also contains nodes that have not been seen, of the class that their labels say, and the
// virtual ones among these. It returns an *UnknownNodeError for a name that neither the view nor labels have.
func (v View) With(names []string, labels map[string]map[string]string) (View, []policy.VirtualNode, error) {
	view := maps.Clone(v)
	var virtual []policy.VirtualNode
	for _, name := range names {
		if view[name] != Unknown {
			continue
		}
		claimed, ok := labels[name]
		if !ok {
			return nil, nil, &UnknownNodeError{Name: name}
		}
		view[name] = classOf(claimed)
		if view[name] == Virtual {
			virtual = append(virtual, policy.VirtualNode{Name: name, Labels: claimed})
		}
	}
	return view, virtual, nil
}

// UnknownNodeError means that a request contains the name of a node that does not exist.
type UnknownNodeError struct{ Name string }

func (e *UnknownNodeError) Error() string {
	return fmt.Sprintf("unknown node %.253q: the cluster has no node of this name", e.Name)
}

func (v View) firstUnknown(names []string) string {
	for _, name := range names {
		if v[name] == Unknown {
			return name
		}
	}
	return ""
}

// Split sorts names by class and keeps their order. It leaves out unknown and foreign nodes.
func (v View) Split(names []string) (local, virtual []string) {
	local = make([]string, 0, len(names))
	for _, name := range names {
		switch v[name] {
		case Local:
			local = append(local, name)
		case Virtual:
			virtual = append(virtual, name)
		case Unknown, Foreign:
		}
	}
	return local, virtual
}

// Store returns the store for a Reflector of the metadata of all nodes.
func (n *Nodes) Store() cache.ReflectorStore { return &store{n} }

// Run lists and watches the metadata of all nodes until ctx ends. It blocks.
func (n *Nodes) Run(ctx context.Context, client metadata.Interface) {
	kube.Follow(ctx, "nodes", client, client.Resource(corev1.SchemeGroupVersion.WithResource("nodes")),
		&metav1.PartialObjectMetadata{}, n.Store())
}

// store receives what the Reflector lists and watches.
type store struct{ nodes *Nodes }

var _ cache.ReflectorStore = (*store)(nil)

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error {
	node, err := asNode(obj)
	if err != nil {
		return err
	}
	class := classOf(node.Labels)
	before := s.nodes.View()[node.Name]
	if class == Virtual || before == Virtual {
		s.nodes.editVirtual(func(all map[string]virtualNode) {
			delete(all, node.Name)
			if class == Virtual {
				all[node.Name] = virtualOf(node)
			}
		})
	}
	if before == class {
		return nil // A heartbeat.
	}
	s.nodes.edit(func(classes map[string]Class) { classes[node.Name] = class })
	return nil
}

// Delete implements cache.ReflectorStore. It keeps the name: the scheduler's snapshot may still contain a node that is
// gone, and the Pods of a deleted virtual node must not count as local. The next full list removes the names of local
// nodes.
func (s *store) Delete(obj any) error {
	node, err := asNode(obj)
	if err != nil {
		return err
	}
	s.nodes.editVirtual(func(all map[string]virtualNode) { delete(all, node.Name) })
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, _ string) error {
	fresh := map[string]Class{}
	virtual := map[string]virtualNode{}
	for _, obj := range list {
		node, err := asNode(obj)
		if err != nil {
			return err
		}
		fresh[node.Name] = classOf(node.Labels)
		if fresh[node.Name] == Virtual {
			virtual[node.Name] = virtualOf(node)
		}
	}
	s.nodes.editVirtual(func(all map[string]virtualNode) {
		clear(all)
		maps.Copy(all, virtual)
	})
	s.nodes.edit(func(classes map[string]Class) {
		maps.DeleteFunc(classes, func(_ string, c Class) bool { return c == Local })
		maps.Copy(classes, fresh)
	})
	s.nodes.synced.Store(true)
	return nil
}

// Resync implements cache.ReflectorStore. It does nothing.
func (s *store) Resync() error { return nil }

// edit replaces the set with a changed copy: nodes change rarely, and are read for every Pod.
func (n *Nodes) edit(change func(map[string]Class)) {
	n.mu.Lock()
	before := n.View()
	classes := maps.Clone(map[string]Class(before))
	change(classes)
	n.classes.Store(&classes)
	n.events.Notify()
	n.mu.Unlock()
	if !maps.Equal(before.notLocal(), View(classes).notLocal()) {
		n.changed()
	}
}

// editVirtual changes the virtual nodes, and replaces what readers know of them.
func (n *Nodes) editVirtual(change func(map[string]virtualNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n.virtual)
	state := &virtualState{locks: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(n.virtual)) {
		node := n.virtual[name]
		state.ours = append(state.ours, node.VirtualNode)
		if node.locked {
			state.locks[name] = node.until
		}
	}
	n.state.Store(state)
}

// virtualOf returns what is kept of a virtual node.
func virtualOf(node *metav1.PartialObjectMetadata) virtualNode {
	until, locked := node.Annotations[policy.SoldOutUntilAnnotation]
	return virtualNode{policy.VirtualNode{Name: node.Name, Labels: node.Labels}, locked, until}
}

// notLocal returns the nodes that are not local.
func (v View) notLocal() View {
	others := maps.Clone(v)
	maps.DeleteFunc(others, func(_ string, c Class) bool { return c == Local })
	return others
}

func asNode(obj any) (*metav1.PartialObjectMetadata, error) {
	node, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("reading a watch event: expected the metadata of a Node, got %T", obj)
	}
	return node, nil
}

func classOf(labels map[string]string) Class {
	switch {
	case policy.IsOurNode(labels):
		return Virtual
	case policy.IsVirtualNode(labels):
		return Foreign
	}
	return Local
}
