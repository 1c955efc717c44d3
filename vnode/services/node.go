package services

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// maxStreams is how many streams a Pod may have: kube-proxy watches four kinds of objects. The newest count, because
	// a connection that has broken silently is noticed late.
	maxStreams = 4
	// requestInterval and requestBurst limit how often a Pod may ask. A request for all Services or EndpointSlices counts
	// as costOfAll: with a selector of its own it makes the server compress all of them. kube-proxy needs two at its
	// start, and some small ones.
	requestInterval = time.Second
	requestBurst    = 20
	costOfAll       = 5
)

// Node is a virtual node that runs in this process.
type Node struct {
	// Name is its name.
	Name string
	// Pods has the Pods on it. Nodes has its Node object. Both are informers that the caller runs.
	Pods, Nodes cache.SharedInformer
}

// node is a virtual node that runs in this process, and the clients on it.
type node struct {
	pods   cache.Store
	synced []cache.InformerSynced
	served *served

	mu      sync.Mutex
	clients map[Pod]*client
	// ended says that the node no longer runs here.
	ended bool
}

// client is a Pod that has made a request.
type client struct {
	requests *rate.Limiter
	// streams end the streams, the oldest first.
	streams []*context.CancelFunc
}

// RunNode serves the Pods of a virtual node until ctx ends. It blocks.
func (s *Server) RunNode(ctx context.Context, of Node) error {
	n := &node{pods: of.Pods.GetStore(), served: s.newServed(kindNode), clients: map[Pod]*client{}}
	pods, err := of.Pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, item any) { n.check(item) }, DeleteFunc: n.check,
	})
	if err != nil {
		return fmt.Errorf("following the pods of node %s for their streams: %w", of.Name, err)
	}
	defer func() { _ = of.Pods.RemoveEventHandler(pods) }() // It fails only if the informer has stopped.
	nodes, err := of.Nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(item any) { s.noteNode(n.served.resources.Add, item) },
		UpdateFunc: func(_, item any) { s.noteNode(n.served.resources.Update, item) },
		DeleteFunc: func(item any) { s.noteNode(n.served.resources.Delete, item) },
	})
	if err != nil {
		return fmt.Errorf("following node %s for the streams of its pods: %w", of.Name, err)
	}
	defer func() { _ = of.Nodes.RemoveEventHandler(nodes) }()
	n.synced = []cache.InformerSynced{pods.HasSynced, nodes.HasSynced}
	s.setNode(of.Name, n)
	<-ctx.Done()
	s.unsetNode(of.Name, n)
	n.end()
	return nil
}

// noteNode stores what a Node has become. The object belongs to an informer.
func (s *Server) noteNode(store func(any) error, item any) {
	if gone, ok := item.(cache.DeletedFinalStateUnknown); ok {
		item = gone.Obj
	}
	found, ok := item.(*corev1.Node)
	if !ok {
		return
	}
	if err := store(found.DeepCopy()); err != nil {
		s.config.Logger.Error("cannot show a Node to its pods", "node", found.Name, "err", err)
	}
}

// ready reports whether the Pods of the node are known.
func (n *node) ready() bool {
	return !slices.ContainsFunc(n.synced, func(synced cache.InformerSynced) bool { return !synced() })
}

// has reports whether a Pod is on the node and has not finished.
func (n *node) has(pod Pod) bool {
	item, ok, err := n.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	found, isPod := item.(*corev1.Pod)
	return err == nil && ok && isPod && isActive(found) && PodOf(found) == pod
}

func isActive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// check ends the streams of a Pod that is gone or has finished.
func (n *node) check(item any) {
	if gone, ok := item.(cache.DeletedFinalStateUnknown); ok {
		item = gone.Obj
	}
	if pod, ok := item.(*corev1.Pod); ok && !n.has(PodOf(pod)) {
		n.forget(PodOf(pod))
	}
}

// enter returns the client of a Pod, nil if the Pod is not on the node. allowed says whether it may ask now.
func (n *node) enter(pod Pod) (found *client, allowed bool) {
	n.mu.Lock()
	found = n.clients[pod]
	if found == nil {
		found = &client{requests: rate.NewLimiter(rate.Every(requestInterval), requestBurst)}
		n.clients[pod] = found
	}
	n.mu.Unlock()
	// Only now, so that check sees the client of a Pod that is deleted in between.
	if !n.has(pod) {
		n.forget(pod)
		return nil, false
	}
	return found, found.requests.Allow()
}

// open notes a stream of a client. It returns false if the Pod, or the node, has gone meanwhile.
func (n *node) open(pod Pod, of *client, end context.CancelFunc) (closed func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended || n.clients[pod] != of {
		return nil, false
	}
	if len(of.streams) >= maxStreams {
		(*of.streams[0])()
		of.streams = of.streams[1:]
	}
	stream := &end
	of.streams = append(of.streams, stream)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		of.streams = slices.DeleteFunc(of.streams, func(other *context.CancelFunc) bool { return other == stream })
	}, true
}

// forget ends the streams of a Pod.
func (n *node) forget(pod Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if of := n.clients[pod]; of != nil {
		of.end()
		delete(n.clients, pod)
	}
}

// endStreams ends all streams.
func (n *node) endStreams() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, of := range n.clients {
		of.end()
	}
}

// end ends all streams. There are no others afterwards.
func (n *node) end() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.endStreams()
}

func (c *client) end() {
	for _, end := range c.streams {
		(*end)()
	}
}
