// Package soldout locks a virtual node while the cloud has no room: new Pods then go elsewhere, and those that wait
// on it are sent elsewhere where they want that. It judges by the cloud Pods that wait, for the service says nowhere
// that it is sold out: a Pod is taken, and stays Pending.
//
// All state is on the Node (policy.SoldOutUntilAnnotation, spec.unschedulable, a condition), so that a restart loses
// nothing but the time for which Pods have been seen waiting.
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

// Config is what a Keeper needs; all fields but Signs and Registerer must be given.
type Config struct {
	// Node is the virtual node's name.
	Node string
	// Timeout is for how long a cloud Pod may wait for a place before the cloud counts as sold out.
	Timeout time.Duration
	// Lock is for how long the node is locked then. Source: seed 2, question 1: half an hour.
	Lock time.Duration
	// Interval is between two looks.
	Interval time.Duration
	// Signs are words of the service by which it says at once that it is sold out; nil for the timeout alone.
	Signs *regexp.Regexp
	// StrandedPods is what becomes of waiting Pods that do not say it themselves.
	StrandedPods policy.OnSoldOut
	// Cloud returns the node's cloud Pods. They are not changed.
	Cloud func() map[identity.Key]*cci.Pod
	// Networks asks the cloud for the networks of the Pods. It may block until ctx ends.
	Networks func(ctx context.Context) ([]cci.Network, error)
	// Events asks the cloud for what it has noted of a cloud Pod. It may block until ctx ends.
	Events func(ctx context.Context, pod *cci.Pod) ([]corev1.Event, error)
	// Client writes the Node and evicts Pods; Pods holds those of the node.
	Client   kubernetes.Interface
	Pods     corelisters.PodLister
	Recorder record.EventRecorder
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	Now        func() time.Time
	Logger     *slog.Logger
}

// Keeper locks and unlocks one virtual node.
type Keeper struct {
	config Config
	locks  prometheus.Counter
	// waiting is since when a cloud Pod has been seen without a place: by our clock, as the cloud's may differ.
	waiting map[identity.Key]time.Time
	// placed are the cloud Pods that have an address, lastPlaced is when one was last seen to get it.
	placed     map[identity.Key]bool
	lastPlaced time.Time
	// heard is what the events of waiting Pods have said.
	heard map[identity.Key]heard
	// told are the Pods that have been told of, by an event.
	told map[identity.Key]policy.OnSoldOut
	// trouble is the last error, said once.
	trouble string
}

// New checks the configuration and starts nothing.
func New(config Config) (*Keeper, error) {
	if config.Node == "" || config.Cloud == nil || config.Networks == nil || config.Events == nil || config.Client == nil || config.Pods == nil ||
		config.Recorder == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("making the keeper of the sold-out lock: a field is missing")
	}
	if config.Timeout <= 0 || config.Lock <= 0 || config.Interval <= 0 {
		return nil, fmt.Errorf("making the keeper of the sold-out lock: timeout %s, lock %s and interval %s must be above zero",
			config.Timeout, config.Lock, config.Interval)
	}
	return &Keeper{
		config: config, locks: newLocks(config.Registerer), heard: map[identity.Key]heard{}, waiting: map[identity.Key]time.Time{},
		placed: map[identity.Key]bool{}, told: map[identity.Key]policy.OnSoldOut{},
	}, nil
}

// Run looks again and again until ctx ends. It blocks and returns nil: what fails is tried at the next look.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(k.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			k.complain(err)
		} else {
			k.trouble = ""
		}
	}
}

func (k *Keeper) complain(err error) {
	if err.Error() != k.trouble {
		k.trouble = err.Error()
		k.config.Logger.Warn("looking whether the cloud is sold out will be tried again", "node", k.config.Node, "err", err)
	}
}

// look compares the waiting Pods with the lock, once.
func (k *Keeper) look(ctx context.Context) error {
	stuck, err := k.stuck(ctx)
	if err != nil {
		return err
	}
	node, err := k.state(ctx)
	if err != nil || node == nil {
		return err
	}
	if err := k.judge(ctx, node, stuck); err != nil {
		return err
	}
	return k.failOver(ctx, stuck, node.unschedulable)
}

// judge locks or unlocks the node, and has its condition say how it stands.
func (k *Keeper) judge(ctx context.Context, node *nodeState, stuck []stuckPod) error {
	now, why := k.config.Now(), ""
	if i := slices.IndexFunc(stuck, func(s stuckPod) bool { return s.general }); i >= 0 {
		why = stuck[i].why
	}
	switch {
	case node.locked && !node.unschedulable:
		return k.unlock(ctx, node, "Uncordoned", "the lock was ended by hand")
	case node.locked && !now.Before(node.until):
		return k.unlock(ctx, node, "LockEnded", "the lock has ended; the cloud is tried again")
	case node.locked:
		return k.condition(ctx, node, true, reasonLocked, node.message(why))
	case why == "":
		return k.condition(ctx, node, false, "CloudHasRoom", "the cloud has a place for Pods")
	case !node.unschedulable:
		return k.lock(ctx, node, now.Add(k.config.Lock), why)
	}
	// Somebody has cordoned it: the lock is theirs.
	return k.condition(ctx, node, true, "NoRoom", why)
}
