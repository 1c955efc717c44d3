package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
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
	// leaseSeconds and renewInterval are the values of the kubelet.
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
	// statusInterval is how often the Node is written without a change, as by the kubelet. virtual-kubelet writes an
	// annotation each time. The scheduler then retries every Pod that an extender has refused.
	statusInterval = 5 * time.Minute
	// existsTimeout bounds the read of the Node at the start.
	existsTimeout = 30 * time.Second
)

// Node is the virtual node in the cluster.
type Node struct {
	config     Config
	resources  atomic.Pointer[resources]
	client     kubernetes.Interface
	nodes      completion
	controller *vknode.NodeController
	reporter   *reporter
	factory    informers.SharedInformerFactory
	dns        atomic.Pointer[corev1.PodDNSConfig]
	logger     *slog.Logger
}

// New returns a Node and starts nothing. client should have a rate limit of its own: the Lease must be renewed under
// any load. account sets the labels that client may not set, if client acts as the node.
func New(config Config, client, account kubernetes.Interface, logger *slog.Logger) (*Node, error) {
	if config.Name == "" || config.IP == "" || config.Port <= 0 || len(config.Capacity) == 0 {
		return nil, errors.New("creating the node: name, address, port and capacity must be given")
	}
	n := &Node{config: config, client: client, logger: logger}
	n.resources.Store(&resources{config.Capacity, config.Capacity})
	n.reporter = &reporter{limit: rate.NewLimiter(rate.Every(reportInterval), reportBurst)}
	n.nodes = newCompletion(client.CoreV1().Nodes(), account.CoreV1().Nodes(), config)
	var err error
	n.controller, err = vknode.NewNodeController(n.reporter, n.object(), n.nodes,
		vknode.WithNodeEnableLeaseV1WithRenewInterval(
			client.CoordinationV1().Leases(corev1.NamespaceNodeLease), leaseSeconds, renewInterval),
		vknode.WithNodeStatusUpdateInterval(statusInterval),
		vknode.WithNodeStatusUpdateErrorHandler(n.recreate))
	if err != nil {
		return nil, fmt.Errorf("creating the node: %w", err)
	}
	onlyThisNode := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, config.Name).String()
	}
	n.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(onlyThisNode))
	_, err = n.factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.changed,
		UpdateFunc: func(_, obj any) { n.changed(obj) },
		DeleteFunc: func(any) { n.reporter.report(n.object) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching the node: %w", err)
	}
	return n, nil
}

// Exists reports whether the cluster already has the Node. Then the Node has Pods that must not be reported as lost.
func (n *Node) Exists(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, existsTimeout)
	defer cancel()
	_, err := n.client.CoreV1().Nodes().Get(ctx, n.config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading node %s: %w", n.config.Name, err)
	}
	return true, nil
}

// Informer has the Node object. Watch runs it.
func (n *Node) Informer() cache.SharedInformer { return n.factory.Core().V1().Nodes().Informer() }

// Watch watches the Node until ctx ends: its annotations, and changes by other clients. It blocks.
func (n *Node) Watch(ctx context.Context) error {
	n.factory.StartWithContext(ctx)
	<-ctx.Done()
	n.factory.Shutdown()
	return nil
}

// Run registers the Node and renews its status and Lease until ctx ends. It blocks. It leaves the Node in the cluster.
func (n *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := n.controller.Run(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("running node %s: %w", n.config.Name, err)
		}
		return nil
	})
	return group.Wait()
}

// Ready is closed when the Node is registered.
func (n *Node) Ready() <-chan struct{} { return n.controller.Ready() }

// resources are what the Node has, and what of it its Pods may use.
type resources struct{ capacity, allocatable corev1.ResourceList }

// SetResources sets the capacity of the Node, and what of it its Pods may use. It writes the Node soon if they differ
// from the last ones. It does not block and may be called at any time.
func (n *Node) SetResources(capacity, allocatable corev1.ResourceList) {
	next := resources{capacity, allocatable}
	if last := n.resources.Swap(&next); !has(last.capacity, capacity) || !has(last.allocatable, allocatable) {
		n.reporter.report(n.object)
	}
}

// object returns the Node as it is to be registered now.
func (n *Node) object() *corev1.Node {
	object, now := object(n.config), n.resources.Load()
	object.Status.Capacity, object.Status.Allocatable = now.capacity, now.allocatable
	return object
}

// DNS returns the DNS configuration of the Node's annotation, nil if there is none.
func (n *Node) DNS() *corev1.PodDNSConfig { return n.dns.Load() }

// recreate registers the Node again after it was deleted.
func (n *Node) recreate(ctx context.Context, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	n.logger.Warn("the node was deleted and is registered again")
	_, err = n.nodes.Create(ctx, n.object(), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering node %s again: %w", n.config.Name, err)
	}
	return nil
}

// changed handles a change of the Node. If the Node is not as this process reports it, the next write corrects it, and
// that is now.
func (n *Node) changed(obj any) {
	n.readDNS(obj)
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	if n.differs(node) {
		n.reporter.report(n.object)
	}
}

// differs reports whether others have changed what matters. The cluster makes a Node not Ready if its Lease was not
// renewed in time. A controller of routes reports that the network is unavailable, because it has no route to a node
// that needs none. Without its labels the Node is no virtual node of Spillway. Another process, which has run the node
// before, may have written its own address last.
func (n *Node) differs(node *corev1.Node) bool {
	is := func(kind corev1.NodeConditionType, status corev1.ConditionStatus) bool {
		found := FindCondition(node, kind)
		return found != nil && found.Status == status
	}
	if !is(corev1.NodeReady, corev1.ConditionTrue) || is(corev1.NodeNetworkUnavailable, corev1.ConditionTrue) {
		return true
	}
	for key, value := range labels(n.config) {
		if node.Labels[key] != value {
			return true
		}
	}
	wanted := n.object().Status
	for _, address := range wanted.Addresses {
		if !slices.Contains(node.Status.Addresses, address) {
			return true
		}
	}
	return !has(node.Status.Capacity, wanted.Capacity) || !has(node.Status.Allocatable, wanted.Allocatable) ||
		node.Status.DaemonEndpoints != wanted.DaemonEndpoints || len(n.nodes.missing(node)) > 0 ||
		len(n.nodes.missingTaints(node)) > 0
}

// has reports whether a list has the resources of another one.
func has(list, wanted corev1.ResourceList) bool {
	for name, quantity := range wanted {
		if got, ok := list[name]; !ok || got.Cmp(quantity) != 0 {
			return false
		}
	}
	return true
}

// reporter makes the node controller write the Node after a change.
type reporter struct {
	vknode.NaiveNodeProvider
	write   atomic.Pointer[func(*corev1.Node)]
	writing atomic.Bool
	// limit bounds the writes if another client changes the Node again each time.
	limit *rate.Limiter
	// ctx ends with the controller.
	ctx atomic.Pointer[context.Context]
}

// reportInterval and reportBurst limit how often the Node is written because others have changed it.
const (
	reportInterval = 5 * time.Second
	reportBurst    = 10
)

// NotifyNodeStatus implements vknode.NodeProvider.
func (r *reporter) NotifyNodeStatus(ctx context.Context, write func(*corev1.Node)) {
	r.ctx.Store(&ctx)
	r.write.Store(&write)
}

// report makes the controller write or recreate the Node soon. It does not block. The controller handles one report at
// a time, and none after it has ended.
func (r *reporter) report(object func() *corev1.Node) {
	write := r.write.Load()
	if write == nil || !r.writing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer r.writing.Store(false)
		if r.limit.Wait(*r.ctx.Load()) == nil {
			(*write)(object())
		}
	}()
}

// readDNS parses the resolv.conf in the annotation. If that fails, nothing changes.
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
		n.logger.Error("an annotation of the node cannot be parsed and is ignored",
			"annotation", policy.ResolvConfAnnotation, "err", err)
		return
	}
	n.dns.Store(config)
}
