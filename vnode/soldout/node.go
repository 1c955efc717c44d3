package soldout

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/node"
)

const conditionType = corev1.NodeConditionType(policy.ReasonSoldOut)

// Reasons of the condition CloudSoldOut. ReasonUncordoned and ReasonLockEnded are also reasons of Events of the Node.
const (
	// ReasonLocked: CloudSoldOut is True, and the Node is locked.
	ReasonLocked = "Locked"
	// ReasonNoRoom: CloudSoldOut is True. The Node was cordoned by a user, so it is not locked.
	ReasonNoRoom = "NoRoom"
	// ReasonHasRoom: CloudSoldOut is False. No Pod waits for capacity of the cloud.
	ReasonHasRoom = "CloudHasRoom"
	// ReasonUncordoned: CloudSoldOut is False. kubectl uncordon has ended the lock.
	ReasonUncordoned = "Uncordoned"
	// ReasonLockEnded: CloudSoldOut is False. The time of the lock is over.
	ReasonLockEnded = "LockEnded"
)

// nodeState is what the Node says about the lock.
type nodeState struct {
	object        *corev1.Node
	unschedulable bool
	// locked: this program has locked the node, until the time until.
	locked bool
	until  time.Time
}

// message returns the message of the condition. Without a new cause, the message of the condition stays.
func (n *nodeState) message(cause string) string {
	if cause != "" {
		return lockedUntil(n.until, cause)
	}
	if found := n.condition(); found != nil && found.Status == corev1.ConditionTrue {
		return found.Message
	}
	return lockedUntil(n.until, "no Pod is waiting any longer")
}

func (n *nodeState) condition() *corev1.NodeCondition {
	return node.FindCondition(n.object, conditionType)
}

// readNode reads the Node, nil if it is not registered now.
func (c *Controller) readNode(ctx context.Context) (*nodeState, error) {
	object, err := c.config.Client.CoreV1().Nodes().Get(ctx, c.config.Node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", c.config.Node, err)
	}
	state := &nodeState{object: object, unschedulable: object.Spec.Unschedulable}
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

func (c *Controller) lock(ctx context.Context, state *nodeState, until time.Time, cause string) error {
	patch := map[string]any{
		"metadata": map[string]any{
			"resourceVersion": state.object.ResourceVersion,
			"annotations":     map[string]any{policy.SoldOutUntilAnnotation: until.UTC().Format(time.RFC3339)},
		},
		"spec": map[string]any{"unschedulable": true},
	}
	if err := c.patchNode(ctx, state, patch); err != nil {
		return fmt.Errorf("locking node %s: %w", c.config.Node, err)
	}
	state.unschedulable, state.locked, state.until = true, true, until
	message := lockedUntil(until, cause)
	c.locks.Inc()
	c.config.Logger.Warn("the cloud is sold out and the node is locked",
		"node", c.config.Node, "until", until, "cause", cause)
	c.config.Recorder.Event(state.object, corev1.EventTypeWarning, string(policy.ReasonSoldOut), message)
	return c.setCondition(ctx, state, true, ReasonLocked, message)
}

func lockedUntil(until time.Time, cause string) string {
	return fmt.Sprintf("locked until %s or until kubectl uncordon: %s", until.UTC().Format(time.RFC3339), cause)
}

// unlock reverts what lock did. For the Pods that still wait, Timeout starts again.
func (c *Controller) unlock(ctx context.Context, state *nodeState, reason, message string) error {
	patch := map[string]any{
		"metadata": map[string]any{
			"resourceVersion": state.object.ResourceVersion,
			"annotations":     map[string]any{policy.SoldOutUntilAnnotation: nil},
		},
		"spec": map[string]any{"unschedulable": nil},
	}
	if err := c.patchNode(ctx, state, patch); err != nil {
		return fmt.Errorf("unlocking node %s: %w", c.config.Node, err)
	}
	state.unschedulable, state.locked = false, false
	clear(c.waitingSince)
	clear(c.reported)
	c.config.Logger.Info("the node is unlocked", "node", c.config.Node, "cause", message)
	c.config.Recorder.Event(state.object, corev1.EventTypeNormal, reason, message)
	return c.setCondition(ctx, state, false, reason, message)
}

func (c *Controller) patchNode(ctx context.Context, state *nodeState, patch map[string]any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	nodes := c.config.Client.CoreV1().Nodes()
	written, err := nodes.Patch(ctx, c.config.Node, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	state.object = written
	return nil
}

// setCondition writes the condition of the Node. While the cloud has capacity, the reason and message stay: they say
// what ended the last lock.
func (c *Controller) setCondition(ctx context.Context, state *nodeState, soldOut bool, reason, message string) error {
	if found := state.condition(); found != nil && !soldOut && found.Status == corev1.ConditionFalse {
		return nil
	}
	return node.SetCondition(
		ctx, c.config.Client.CoreV1().Nodes(), state.object, conditionType, soldOut, reason, message, c.config.Now())
}
