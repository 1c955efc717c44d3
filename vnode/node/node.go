package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	// leaseSeconds and renewInterval are the kubelet's.
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
	// statusInterval is how often the Node is written though nothing has happened to it, as the kubelet's is.
	// virtual-kubelet writes an annotation each time, at which the scheduler tries every Pod again that an extender has
	// refused.
	statusInterval = 5 * time.Minute
	// lookTimeout bounds the look for the Node at the start.
	lookTimeout = 30 * time.Second
)

// Node is the virtual node in the cluster.
type Node struct {
	config     Config
	client     kubernetes.Interface
	controller *vknode.NodeController
	reporter   *reporter
	factory    informers.SharedInformerFactory
	dns        atomic.Pointer[corev1.PodDNSConfig]
	logger     *slog.Logger
}

// New makes a Node and starts nothing. client should have a rate limit of its own: the Lease must be renewed whatever
// else is going on.
func New(config Config, client kubernetes.Interface, logger *slog.Logger) (*Node, error) {
	if config.Name == "" || config.IP == "" || config.Port <= 0 || len(config.Capacity) == 0 {
		return nil, errors.New("making the node: name, address, port and capacity must be given")
	}
	n := &Node{config: config, client: client, reporter: &reporter{}, logger: logger}
	var err error
	n.controller, err = vknode.NewNodeController(n.reporter, object(config), client.CoreV1().Nodes(),
		vknode.WithNodeEnableLeaseV1WithRenewInterval(client.CoordinationV1().Leases(corev1.NamespaceNodeLease), leaseSeconds, renewInterval),
		vknode.WithNodeStatusUpdateInterval(statusInterval),
		vknode.WithNodeStatusUpdateErrorHandler(n.makeAgain))
	if err != nil {
		return nil, fmt.Errorf("making the node: %w", err)
	}
	n.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, config.Name).String()
	}))
	_, err = n.factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.see,
		UpdateFunc: func(_, obj any) { n.see(obj) },
		DeleteFunc: func(any) { n.reporter.report(config) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching the node: %w", err)
	}
	return n, nil
}

// Exists asks whether the cluster has the Node already: then it has Pods that must not be taken for lost.
func (n *Node) Exists(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_, err := n.client.CoreV1().Nodes().Get(ctx, n.config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for node %s: %w", n.config.Name, err)
	}
	return true, nil
}

// Watch follows the Node until ctx ends: its annotations, and what others make of it. It blocks.
func (n *Node) Watch(ctx context.Context) error {
	n.factory.StartWithContext(ctx)
	<-ctx.Done()
	n.factory.Shutdown()
	return nil
}

// Run registers the Node and keeps its status and Lease until ctx ends. It blocks. The Node is left in the cluster.
func (n *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := n.controller.Run(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("keeping node %s: %w", n.config.Name, err)
		}
		return nil
	})
	return group.Wait()
}

// Ready is closed once the Node is registered.
func (n *Node) Ready() <-chan struct{} { return n.controller.Ready() }

// DNS is what the Node's annotation says about the DNS of its Pods, nil where it says nothing.
func (n *Node) DNS() *corev1.PodDNSConfig { return n.dns.Load() }

// makeAgain registers a Node that somebody has deleted.
func (n *Node) makeAgain(ctx context.Context, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	n.logger.Warn("the node was deleted and is registered again", "node", n.config.Name)
	if _, err := n.client.CoreV1().Nodes().Create(ctx, object(n.config), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering node %s again: %w", n.config.Name, err)
	}
	return nil
}

// see takes note of the Node. One that was found silent, because its Lease was not renewed in time, is not Ready
// until its status is written again.
func (n *Node) see(obj any) {
	n.readDNS(obj)
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	if ready := FindCondition(node, corev1.NodeReady); ready == nil || ready.Status != corev1.ConditionTrue {
		n.reporter.report(n.config)
	}
}

// reporter has the node controller write the Node when something has happened to it.
type reporter struct {
	vknode.NaiveNodeProvider
	write   atomic.Pointer[func(*corev1.Node)]
	writing atomic.Bool
}

// NotifyNodeStatus implements vknode.NodeProvider.
func (r *reporter) NotifyNodeStatus(_ context.Context, write func(*corev1.Node)) {
	r.write.Store(&write)
}

// report has the Node written, or made again, soon. It does not block; the controller takes one report at a time, and
// none any more when it has ended.
func (r *reporter) report(config Config) {
	write := r.write.Load()
	if write == nil || !r.writing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer r.writing.Store(false)
		(*write)(object(config))
	}()
}

// readDNS takes the resolv.conf of the annotation. One that cannot be read changes nothing.
func (n *Node) readDNS(obj any) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	text, ok := node.Annotations[policy.ResolvConfAnnotation]
	if !ok {
		n.dns.Store(nil)
		return
	}
	config, err := translate.ParseResolvConf(text)
	if err != nil {
		n.logger.Error("an annotation of the node cannot be read and changes nothing", "annotation", policy.ResolvConfAnnotation, "err", err)
		return
	}
	n.dns.Store(config)
}
