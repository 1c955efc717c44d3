// Package soldout decides by the cloud Pods that wait which sizes the cloud has no room for, because the service does
// not report that it is sold out: it accepts a Pod and leaves it Pending. If the whole cloud has no room, it locks the
// virtual node: new Pods then run elsewhere, and waiting Pods that allow it are evicted.
//
// The Pods of one tenant alone never lock the node: a probe, a cloud Pod of the smallest size, must find no room
// either. Without a probe, Pods of two namespaces must wait. The lock of a node grows from FirstLock to Lock while Pods
// find no room (docs/decisions/sold-out-by-probe.md).
//
// A quota of the cloud that is used up locks the node too, if the cloud refuses the probe for it. The lock lasts until
// the cloud accepts the probe.
//
// All state is on the Node (policy.SoldOutUntilAnnotation, policy.SoldOutLockAnnotation, spec.unschedulable, a
// condition). A restart loses only how long Pods have been waiting, and deletes a probe that is left.
package soldout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// CloudAPI is the part of cci.API that a Controller uses.
type CloudAPI interface {
	ListNetworks(ctx context.Context, namespace string) ([]cci.Network, error)
	PodEvents(ctx context.Context, namespace, name string, uid types.UID) ([]corev1.Event, error)
	CreatePod(ctx context.Context, namespace string, pod *cci.Pod) (*cci.Pod, error)
	GetPod(ctx context.Context, namespace, name string) (*cci.Pod, error)
	DeletePod(ctx context.Context, namespace, name string, options cci.DeleteOptions) error
}

// Config configures a Controller. All fields but Signs, Probe and Registerer are required.
type Config struct {
	// Owner is the virtual node.
	Owner identity.Owner
	// Timeout is how long a cloud Pod may wait before its size counts as sold out.
	Timeout time.Duration
	// FirstLock is how long the node is locked first. Each lock that follows lasts twice as long, but not longer than
	// Lock, until a Pod finds room. Source: CCE bursting: half an hour.
	FirstLock, Lock time.Duration
	// Interval is the time between two checks.
	Interval time.Duration
	// Signs matches reasons by which the service reports that it is sold out. The size of the Pod then counts as sold
	// out at once. Messages are not matched: they contain names that users choose. Optional.
	Signs *regexp.Regexp
	// Probe is the cloud Pod that finds out whether the cloud has room for the smallest size (NewProbe). Optional.
	Probe *cci.Pod
	// StrandedPods is what happens to waiting Pods that have no annotation for it.
	StrandedPods policy.OnSoldOut
	// CloudPods returns the node's cloud Pods. They are not changed. The first call must return all of them.
	CloudPods func() map[identity.Key]*cci.Pod
	// QuotaRefusals returns the Pods without a cloud Pod because a quota has no room for them, and when the cloud last
	// said so. RetryQuota has some of them tried again: the quota has room. Neither blocks.
	QuotaRefusals func() map[identity.Key]time.Time
	RetryQuota    func()
	// API and CloudNamespace are where the cloud Pods run.
	API            CloudAPI
	CloudNamespace string
	// Client writes the Node and evicts Pods. Pods holds the Pods of the node.
	Client   kubernetes.Interface
	Pods     corelisters.PodLister
	Recorder record.EventRecorder
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	// Now is the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Controller locks and unlocks one virtual node. Its methods are not safe for concurrent use.
type Controller struct {
	config  Config
	metrics metrics
	// waiting holds the cloud Pods that have no address yet.
	waiting map[identity.Key]*waitingPod
	// refused holds the Pods for which a quota has no room. They have no cloud Pod.
	refused map[identity.Key]*waitingPod
	// hasAddress holds the cloud Pods that have an address, nil before the first check.
	hasAddress map[identity.Key]bool
	// lastAddress is when a Pod or the probe was last seen to find room. addresses counts them.
	lastAddress time.Time
	addresses   int
	// opened is when the node was last unlocked, or the first check. The time that a Pod waits counts from then on.
	opened time.Time
	probe  probe
	// observed is when the cloud Pods were last observed.
	observed time.Time
	// problem is why no Pod gets an address, empty if the networks are not the cause. It was read at problemAt.
	problem   string
	problemAt time.Time
	// eventsNext is when the events of Pods may be read again, zero unless the region did not offer them.
	eventsNext time.Time
	// lastError is the last logged error. An error that repeats is logged once.
	lastError string
}

// New checks the configuration and returns a Controller. It starts nothing.
func New(config Config) (*Controller, error) {
	if config.Owner.Node == "" || config.CloudPods == nil || config.QuotaRefusals == nil || config.RetryQuota == nil ||
		config.API == nil || config.CloudNamespace == "" || config.Client == nil || config.Pods == nil ||
		config.Recorder == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the sold-out controller: a required field is missing")
	}
	if config.Timeout <= 0 || config.FirstLock <= 0 || config.Lock <= 0 || config.Interval <= 0 {
		return nil, fmt.Errorf(
			"creating the sold-out controller: timeout %s, first lock %s, lock %s and interval %s must be above zero",
			config.Timeout, config.FirstLock, config.Lock, config.Interval)
	}
	return &Controller{
		config: config, metrics: newMetrics(config.Registerer),
		waiting: map[identity.Key]*waitingPod{}, refused: map[identity.Key]*waitingPod{},
	}, nil
}

// Run reconciles periodically until ctx ends. It blocks and returns nil: after an error it reconciles again at the next
// interval.
func (c *Controller) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := c.reconcile(ctx); err != nil && ctx.Err() == nil {
			c.logError(err)
		} else {
			c.lastError = ""
		}
	}
}

func (c *Controller) logError(err error) {
	if err.Error() != c.lastError {
		c.lastError = err.Error()
		c.config.Logger.Warn("checking whether the cloud is sold out failed and will be retried",
			"err", err)
	}
}

// reconcile checks the Pods that wait and compares the finding with the lock, once. An error of one step does not keep
// the others from being done: a lock must end while the cloud does not answer.
func (c *Controller) reconcile(ctx context.Context) error {
	node, err := c.readNode(ctx)
	if err != nil || node == nil {
		return err
	}
	before := c.addresses
	c.observe()
	c.readWarnings(ctx)
	problemErr := c.readProblem(ctx)
	stranded := c.stranded()
	decision, probeErr := c.decide(ctx, node, stranded)
	decision.found, decision.sizes = c.addresses > before, sizesOf(stranded)
	lockErr := c.updateLock(ctx, node, decision)
	c.metrics.setLocked(node.locked)
	return errors.Join(problemErr, probeErr, lockErr, c.failOver(ctx, stranded, node.unschedulable))
}
