// Package soldout locks a virtual node while the cloud has no capacity: new Pods then run elsewhere, and waiting Pods
// that allow it are evicted. The package decides by the cloud Pods that wait, because the service does not report that
// it is sold out: it accepts a Pod and leaves it Pending.
//
// All state is on the Node (policy.SoldOutUntilAnnotation, spec.unschedulable, a condition). A restart loses only how
// long Pods have been waiting.
package soldout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Config configures a Controller. All fields but Signs and Registerer are required.
type Config struct {
	// Node is the name of the virtual node.
	Node string
	// Timeout is how long a cloud Pod may wait for capacity before the cloud counts as sold out.
	Timeout time.Duration
	// Lock is how long the node is locked then. Source: CCE bursting: half an hour.
	Lock time.Duration
	// Interval is the time between two checks.
	Interval time.Duration
	// Signs matches messages by which the service reports that it is sold out. The node is then locked at once. Optional.
	Signs *regexp.Regexp
	// StrandedPods is what happens to waiting Pods that have no annotation for it.
	StrandedPods policy.OnSoldOut
	// Cloud returns the node's cloud Pods. They are not changed.
	Cloud func() map[identity.Key]*cci.Pod
	// Networks reads the networks of the Pods from the cloud. It may block until ctx ends.
	Networks func(ctx context.Context) ([]cci.Network, error)
	// Events reads the events of a cloud Pod from the cloud. It may block until ctx ends.
	Events func(ctx context.Context, pod *cci.Pod) ([]corev1.Event, error)
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
	config Config
	locks  prometheus.Counter
	// waitingSince is when each cloud Pod was first seen without an address, by this program's clock: the cloud's clock
	// may differ.
	waitingSince map[identity.Key]time.Time
	// hasAddress holds the cloud Pods that have an address. lastAddress is when one was last seen to get its address.
	hasAddress  map[identity.Key]bool
	lastAddress time.Time
	// warnings holds the last warning from the events of each waiting cloud Pod.
	warnings map[identity.Key]warning
	// reported holds what an Event has last reported about each waiting Pod.
	reported map[identity.Key]policy.OnSoldOut
	// lastError is the last logged error. An error that repeats is logged once.
	lastError string
}

// New checks the configuration and returns a Controller. It starts nothing.
func New(config Config) (*Controller, error) {
	if config.Node == "" || config.Cloud == nil || config.Networks == nil || config.Events == nil ||
		config.Client == nil || config.Pods == nil || config.Recorder == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the sold-out controller: a required field is missing")
	}
	if config.Timeout <= 0 || config.Lock <= 0 || config.Interval <= 0 {
		return nil, fmt.Errorf(
			"creating the sold-out controller: timeout %s, lock %s and interval %s must be above zero",
			config.Timeout, config.Lock, config.Interval)
	}
	return &Controller{
		config: config, locks: newLocks(config.Registerer),
		waitingSince: map[identity.Key]time.Time{}, hasAddress: map[identity.Key]bool{},
		warnings: map[identity.Key]warning{}, reported: map[identity.Key]policy.OnSoldOut{},
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
			"node", c.config.Node, "err", err)
	}
}

// reconcile compares the stranded Pods with the lock, once.
func (c *Controller) reconcile(ctx context.Context) error {
	stranded, err := c.findStranded(ctx)
	if err != nil {
		return err
	}
	node, err := c.readNode(ctx)
	if err != nil || node == nil {
		return err
	}
	if err := c.updateLock(ctx, node, stranded); err != nil {
		return err
	}
	return c.failOver(ctx, stranded, node.unschedulable)
}

// updateLock locks or unlocks the node, and writes the state into its condition.
func (c *Controller) updateLock(ctx context.Context, node *nodeState, stranded []strandedPod) error {
	now, cause := c.config.Now(), ""
	if i := slices.IndexFunc(stranded, func(s strandedPod) bool { return s.general }); i >= 0 {
		cause = stranded[i].cause
	}
	switch {
	case node.locked && !node.unschedulable:
		return c.unlock(ctx, node, ReasonUncordoned, "the node was uncordoned, which ends the lock")
	case node.locked && !now.Before(node.until):
		return c.unlock(ctx, node, ReasonLockEnded, "the lock has ended; Pods may run in the cloud again")
	case node.locked:
		return c.setCondition(ctx, node, true, ReasonLocked, node.message(cause))
	case cause == "":
		return c.setCondition(ctx, node, false, ReasonHasRoom, "the cloud has capacity for Pods")
	case !node.unschedulable:
		return c.lock(ctx, node, now.Add(c.config.Lock), cause)
	}
	// Another client has cordoned the node. That cordon has no end, and only the client may remove it.
	return c.setCondition(ctx, node, true, ReasonNoRoom, cause)
}
