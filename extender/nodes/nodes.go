// Package nodes knows which nodes of the cluster are virtual. It keeps names and one bit each, no Node objects.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// Class is what a node is.
type Class int

const (
	// Unknown: no node of this name has been seen.
	Unknown Class = iota
	// Local: a machine of the cluster.
	Local
	// Virtual: a node that stands for the cloud.
	Virtual
)

// Nodes is the set of nodes, filled by a watch of their metadata. Reading it takes no lock.
type Nodes struct {
	changed func()

	mu      sync.Mutex // orders writers
	classes atomic.Pointer[map[string]Class]
	synced  atomic.Bool
	// seen is closed and replaced whenever a node appears.
	seen atomic.Pointer[chan struct{}]
	// vain is the last wait that was in vain.
	vain atomic.Pointer[wait]
}

// wait is one for a name until the next node appears.
type wait struct {
	name string
	seen chan struct{}
}

// New makes an empty set. changed is called after a node has become virtual or ceased to be: a new local node changes nobody's
// class, since unknown names count as local.
func New(changed func()) *Nodes {
	n := &Nodes{changed: changed}
	n.classes.Store(&map[string]Class{})
	seen := make(chan struct{})
	n.seen.Store(&seen)
	return n
}

// View is the set at one moment; it never changes.
type View map[string]Class

// View returns the present set.
func (n *Nodes) View() View { return *n.classes.Load() }

// IsVirtual tells whether a node is virtual. An unknown one is not.
func (n *Nodes) IsVirtual(name string) bool { return n.View()[name] == Virtual }

// Synced tells whether the set has been filled.
func (n *Nodes) Synced() bool { return n.synced.Load() }

// Await returns a view that knows all the names. It waits for names that are new until ctx ends, which is an error that
// names one of them: the scheduler may have seen a node a moment before. For a name for which it has waited to a deadline in vain it does
// not wait again until some node appears: the scheduler names a new node with every Pod, and all others wait meanwhile.
func (n *Nodes) Await(ctx context.Context, names []string) (View, error) {
	for {
		seen := *n.seen.Load()
		view := n.View()
		missing := view.firstUnknown(names)
		if missing == "" {
			return view, nil
		}
		this := wait{missing, seen}
		if last := n.vain.Load(); last != nil && *last == this {
			return nil, &UnknownNodeError{Name: missing}
		}
		select {
		case <-seen:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				n.vain.Store(&this)
			}
			return nil, &UnknownNodeError{Name: missing}
		}
	}
}

// UnknownNodeError says that a request names a node that the cluster does not have.
type UnknownNodeError struct{ Name string }

func (e *UnknownNodeError) Error() string {
	return fmt.Sprintf("unknown node %q: the cluster has no node of this name", e.Name)
}

func (v View) firstUnknown(names []string) string {
	for _, name := range names {
		if v[name] == Unknown {
			return name
		}
	}
	return ""
}

// Split sorts names by class, each in the order given. Unknown names are left out.
func (v View) Split(names []string) (local, virtual []string) {
	local = make([]string, 0, len(names))
	for _, name := range names {
		switch v[name] {
		case Local:
			local = append(local, name)
		case Virtual:
			virtual = append(virtual, name)
		case Unknown:
		}
	}
	return local, virtual
}

// Store is where a Reflector of the metadata of all nodes writes.
func (n *Nodes) Store() cache.ReflectorStore { return &store{n} }

// Run lists and watches the metadata of all nodes until ctx ends. It blocks.
func (n *Nodes) Run(ctx context.Context, client metadata.Interface) {
	resource := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return resource.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, o)
		},
	}
	reflector := cache.NewReflectorWithOptions(source, &metav1.PartialObjectMetadata{}, n.Store(), cache.ReflectorOptions{Name: "nodes"})
	reflector.RunWithContext(ctx)
}

// store is what the Reflector writes to.
type store struct{ nodes *Nodes }

var _ cache.ReflectorStore = (*store)(nil)

func (s *store) Add(obj any) error { return s.Update(obj) }

func (s *store) Update(obj any) error {
	node, err := asNode(obj)
	if err != nil {
		return err
	}
	class := classOf(node)
	if s.nodes.View()[node.Name] == class {
		return nil // A heartbeat.
	}
	s.nodes.edit(func(classes map[string]Class) { classes[node.Name] = class })
	return nil
}

// Delete keeps the name: the scheduler's snapshot may still list a node that is gone, and Pods of a removed virtual node must not
// count as local ones. The next whole list forgets local names.
func (s *store) Delete(any) error { return nil }

func (s *store) Replace(list []any, _ string) error {
	fresh := map[string]Class{}
	for _, obj := range list {
		node, err := asNode(obj)
		if err != nil {
			return err
		}
		fresh[node.Name] = classOf(node)
	}
	s.nodes.edit(func(classes map[string]Class) {
		maps.DeleteFunc(classes, func(_ string, c Class) bool { return c != Virtual })
		maps.Copy(classes, fresh)
	})
	s.nodes.synced.Store(true)
	return nil
}

func (s *store) Resync() error { return nil }

// edit replaces the set by a changed copy: nodes come and go rarely, and are read for every Pod.
func (n *Nodes) edit(change func(map[string]Class)) {
	n.mu.Lock()
	before := n.View()
	classes := maps.Clone(map[string]Class(before))
	change(classes)
	n.classes.Store(&classes)
	seen := make(chan struct{})
	close(*n.seen.Swap(&seen))
	n.mu.Unlock()
	if !maps.Equal(before.virtual(), View(classes).virtual()) {
		n.changed()
	}
}

// virtual are the names of the virtual nodes.
func (v View) virtual() map[string]bool {
	names := map[string]bool{}
	for name, class := range v {
		if class == Virtual {
			names[name] = true
		}
	}
	return names
}

func asNode(obj any) (*metav1.PartialObjectMetadata, error) {
	node, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("reading a watch event: expected the metadata of a Node, got %T", obj)
	}
	return node, nil
}

func classOf(node *metav1.PartialObjectMetadata) Class {
	if policy.IsVirtualNode(node.Labels) {
		return Virtual
	}
	return Local
}
