package soldout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/node"
)

const conditionType = corev1.NodeConditionType(policy.ReasonSoldOut)

// Reasons of the condition CloudSoldOut. ReasonUncordoned, ReasonLockEnded, ReasonRoomFound and ReasonQuotaHasRoom are
// also reasons of Events of the Node.
const (
	// ReasonLocked: CloudSoldOut is True, and the Node is locked.
	ReasonLocked = "Locked"
	// ReasonQuota: CloudSoldOut is True, and the Node is locked. A quota of the account or of the cloud namespace is used
	// up. The message contains what the cloud says.
	ReasonQuota = "QuotaUsedUp"
	// ReasonNoRoom: CloudSoldOut is True. The Node was cordoned by a user, so it is not locked.
	ReasonNoRoom = "NoRoom"
	// ReasonSizes: CloudSoldOut is False. The cloud has no capacity for the sizes in the message, and takes other Pods.
	ReasonSizes = "SizesSoldOut"
	// ReasonHasRoom: CloudSoldOut is False. No Pod waits for capacity of the cloud.
	ReasonHasRoom = "CloudHasRoom"
	// ReasonUncordoned: CloudSoldOut is False. kubectl uncordon has ended the lock.
	ReasonUncordoned = "Uncordoned"
	// ReasonLockEnded: CloudSoldOut is False. The time of the lock is over. If Pods find no room again, the next lock
	// lasts twice as long.
	ReasonLockEnded = "LockEnded"
	// ReasonRoomFound: CloudSoldOut is False. A Pod got an address before the time of the lock was over.
	ReasonRoomFound = "RoomFound"
	// ReasonQuotaHasRoom: CloudSoldOut is False. The quota for which the Node was locked has room again.
	ReasonQuotaHasRoom = "QuotaHasRoom"
)

// nodeState is what the Node says about the lock.
type nodeState struct {
	object        *corev1.Node
	unschedulable bool
	// locked: this program has locked the node, until the time until.
	locked bool
	until  time.Time
	// lastLock is how long the last lock lasts or lasted, zero if a Pod has found room since.
	lastLock time.Duration
}

func (n *nodeState) condition() *corev1.NodeCondition {
	return node.FindCondition(n.object, conditionType)
}

// lockedForQuota reports whether the node is locked because a quota is used up.
func (n *nodeState) lockedForQuota() bool {
	found := n.condition()
	return n.locked && found != nil && found.Status == corev1.ConditionTrue && found.Reason == ReasonQuota
}

// readNode reads the Node, nil if it is not registered now.
func (c *Controller) readNode(ctx context.Context) (*nodeState, error) {
	object, err := c.config.Client.CoreV1().Nodes().Get(ctx, c.config.Owner.Node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", c.config.Owner.Node, err)
	}
	state := &nodeState{object: object, unschedulable: object.Spec.Unschedulable}
	if text, ok := object.Annotations[policy.SoldOutLockAnnotation]; ok {
		if state.lastLock, err = time.ParseDuration(text); err != nil { // Another client has written it.
			c.config.Logger.Warn("an annotation of the node cannot be parsed; the next lock is a first one",
				"annotation", policy.SoldOutLockAnnotation, "value", text)
		}
	}
	text, ok := object.Annotations[policy.SoldOutUntilAnnotation]
	if !ok {
		return state, nil
	}
	state.locked = true
	if state.until, err = time.Parse(time.RFC3339, text); err != nil { // Another client has written it: the lock ends now.
		c.config.Logger.Warn("an annotation of the node cannot be parsed; the lock ends",
			"annotation", policy.SoldOutUntilAnnotation, "value", text)
	}
	return state, nil
}

// updateLock locks or unlocks the node, and writes the state into its condition.
func (c *Controller) updateLock(ctx context.Context, node *nodeState, v finding) error {
	now := c.config.Now()
	c.metrics.sizes.Set(float64(len(v.sizes)))
	switch {
	case node.locked && !node.unschedulable:
		return c.unlock(ctx, node, ReasonUncordoned, "the node was uncordoned, which ends the lock")
	case node.locked && v.accepted:
		defer c.config.RetryQuota()
		return c.unlock(ctx, node, ReasonQuotaHasRoom, "the quota has room again, which ends the lock")
	case node.locked && v.quota:
		return c.prolong(ctx, node, v.cause)
	case node.locked && v.found && !node.lockedForQuota(): // A Pod that was accepted before says nothing about a quota.
		return c.unlock(ctx, node, ReasonRoomFound, "a Pod has found room, which ends the lock")
	case node.locked && !now.Before(node.until):
		return c.unlock(ctx, node, ReasonLockEnded, "the lock has ended; Pods may run in the cloud again")
	case node.locked:
		if found := node.condition(); found != nil && found.Status == corev1.ConditionTrue {
			return nil
		}
		return c.setCondition(ctx, node, true, ReasonLocked, lockedUntil(node.until, "the cloud is sold out"))
	case v.cause != "" && !node.unschedulable:
		return c.lock(ctx, node, v)
	case v.cause != "": // Another client has cordoned the node. Only it may uncordon the node.
		return c.setCondition(ctx, node, true, ReasonNoRoom, v.cause)
	}
	return errors.Join(c.forgetLock(ctx, node, v.found), c.setOpenCondition(ctx, node, v.sizes))
}

// nextLock returns how long the next lock lasts: twice as long as the last, within the limits of the configuration.
func (c *Controller) nextLock(last time.Duration) time.Duration {
	return min(max(c.config.FirstLock, 2*min(last, c.config.Lock)), c.config.Lock)
}

func (c *Controller) lock(ctx context.Context, state *nodeState, v finding) error {
	if err := c.writeLock(ctx, state); err != nil {
		return fmt.Errorf("locking node %s: %w", c.config.Owner.Node, err)
	}
	reason, message := ReasonLocked, lockedUntil(state.until, v.cause)
	if v.quota && c.config.Probe != nil {
		reason, message = ReasonQuota, lockedForQuota(v.cause)
	} else {
		c.probe.next = time.Time{}
	}
	c.metrics.locks.Inc()
	c.config.Logger.Warn("the cloud takes no Pods and the node is locked",
		"until", state.until, "cause", v.cause)
	c.config.Recorder.Event(state.object, corev1.EventTypeWarning, string(policy.ReasonSoldOut), message)
	return c.setCondition(ctx, state, true, reason, message)
}

// prolong keeps the node locked while the cloud refuses the probe for a quota. The message has its latest words.
func (c *Controller) prolong(ctx context.Context, state *nodeState, cause string) error {
	if !c.config.Now().Before(state.until) {
		if err := c.writeLock(ctx, state); err != nil {
			return fmt.Errorf("keeping node %s locked: %w", c.config.Owner.Node, err)
		}
	}
	return c.setCondition(ctx, state, true, ReasonQuota, lockedForQuota(cause))
}

// writeLock makes the node unschedulable until the end of the next lock.
func (c *Controller) writeLock(ctx context.Context, state *nodeState) error {
	length := c.nextLock(state.lastLock)
	until := c.config.Now().Add(length)
	err := c.patchNode(ctx, state, map[string]any{"unschedulable": true}, map[string]any{
		policy.SoldOutUntilAnnotation: until.UTC().Format(time.RFC3339),
		policy.SoldOutLockAnnotation:  length.String(),
	})
	if err == nil {
		state.unschedulable, state.locked, state.until = true, true, until
	}
	return err
}

func lockedForQuota(cause string) string {
	return "locked until the cloud accepts a probe or until kubectl uncordon: " + cause
}

func lockedUntil(until time.Time, cause string) string {
	return fmt.Sprintf("locked until %s or until kubectl uncordon: %s", until.UTC().Format(time.RFC3339), cause)
}

// unlock reverts what lock did. For the Pods that still wait, Timeout starts again. At the end of its time the length
// of the lock stays on the Node: the next one lasts longer.
func (c *Controller) unlock(ctx context.Context, state *nodeState, reason, message string) error {
	annotations := map[string]any{policy.SoldOutUntilAnnotation: nil}
	if reason != ReasonLockEnded {
		annotations[policy.SoldOutLockAnnotation] = nil
	}
	if err := c.patchNode(ctx, state, map[string]any{"unschedulable": nil}, annotations); err != nil {
		return fmt.Errorf("unlocking node %s: %w", c.config.Owner.Node, err)
	}
	state.unschedulable, state.locked, c.probe.refusal = false, false, ""
	c.opened = c.observed // A Pod that was first seen now has come after the node was opened.
	for _, waiting := range []map[identity.Key]*waitingPod{c.waiting, c.refused} {
		for _, w := range waiting {
			w.reported = ""
		}
	}
	c.config.Logger.Info("the node is unlocked", "cause", message)
	c.config.Recorder.Event(state.object, corev1.EventTypeNormal, reason, message)
	return c.setCondition(ctx, state, false, reason, message)
}

// forgetLock makes the next lock a first one, if a Pod has found room, or none has tried for as long as the longest
// lock.
func (c *Controller) forgetLock(ctx context.Context, state *nodeState, found bool) error {
	if _, ok := state.object.Annotations[policy.SoldOutLockAnnotation]; !ok ||
		!found && c.config.Now().Sub(c.opened) < c.config.Lock {
		return nil
	}
	if err := c.patchNode(ctx, state, nil, map[string]any{policy.SoldOutLockAnnotation: nil}); err != nil {
		return fmt.Errorf("removing the last lock from node %s: %w", c.config.Owner.Node, err)
	}
	return nil
}

// patchNode changes the spec and the annotations of the Node.
func (c *Controller) patchNode(ctx context.Context, state *nodeState, spec, annotations map[string]any) error {
	patch := map[string]any{
		"metadata": map[string]any{"resourceVersion": state.object.ResourceVersion, "annotations": annotations},
	}
	if spec != nil {
		patch["spec"] = spec
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	nodes := c.config.Client.CoreV1().Nodes()
	written, err := nodes.Patch(ctx, c.config.Owner.Node, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	state.object = written
	return nil
}

// setOpenCondition writes the condition of a Node that is not locked. As long as no size is sold out, the reason and
// the message stay: they say what ended the last lock.
func (c *Controller) setOpenCondition(ctx context.Context, state *nodeState, sizes []string) error {
	found := state.condition()
	switch {
	case len(sizes) > 0:
		return c.setCondition(ctx, state, false, ReasonSizes, "the cloud has no capacity for Pods of size "+listed(sizes))
	case found != nil && found.Status == corev1.ConditionFalse && found.Reason != ReasonSizes:
		return nil
	}
	return c.setCondition(ctx, state, false, ReasonHasRoom, "the cloud has capacity for Pods")
}

func (c *Controller) setCondition(ctx context.Context, state *nodeState, soldOut bool, reason, message string) error {
	return node.SetCondition(ctx, c.config.Client.CoreV1().Nodes(), state.object, conditionType, soldOut, reason,
		fmt.Sprintf("%.*s", maxMessage, message), c.config.Now())
}
