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

const (
	conditionType = corev1.NodeConditionType(policy.ReasonSoldOut)
	reasonLocked  = "Locked"
)

// nodeState is what the Node says about the lock.
type nodeState struct {
	object        *corev1.Node
	unschedulable bool
	// locked: the lock is ours, and ends at until.
	locked bool
	until  time.Time
}

// message says what holds now; the present condition's words stay while nothing new is known.
func (n *nodeState) message(why string) string {
	if why != "" {
		return lockedUntil(n.until, why)
	}
	if found := n.condition(); found != nil && found.Status == corev1.ConditionTrue {
		return found.Message
	}
	return lockedUntil(n.until, "no Pod waits any more")
}

func (n *nodeState) condition() *corev1.NodeCondition {
	return node.FindCondition(n.object, conditionType)
}

// state asks for the Node; nil where it is not registered now.
func (k *Keeper) state(ctx context.Context) (*nodeState, error) {
	object, err := k.config.Client.CoreV1().Nodes().Get(ctx, k.config.Node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking for node %s: %w", k.config.Node, err)
	}
	state := &nodeState{object: object, unschedulable: object.Spec.Unschedulable}
	text, ok := object.Annotations[policy.SoldOutUntilAnnotation]
	if !ok {
		return state, nil
	}
	state.locked = true
	if state.until, err = time.Parse(time.RFC3339, text); err != nil { // Somebody has written it: the lock ends now.
		k.config.Logger.Warn("an annotation of the node cannot be read, and the lock ends", "annotation", policy.SoldOutUntilAnnotation, "value", text)
	}
	return state, nil
}

func (k *Keeper) lock(ctx context.Context, state *nodeState, until time.Time, why string) error {
	patch := map[string]any{
		"metadata": map[string]any{
			"resourceVersion": state.object.ResourceVersion,
			"annotations":     map[string]any{policy.SoldOutUntilAnnotation: until.UTC().Format(time.RFC3339)},
		},
		"spec": map[string]any{"unschedulable": true},
	}
	if err := k.patchNode(ctx, state, patch); err != nil {
		return fmt.Errorf("locking node %s: %w", k.config.Node, err)
	}
	state.unschedulable, state.locked, state.until = true, true, until
	message := lockedUntil(until, why)
	k.locks.Inc()
	k.config.Logger.Warn("the cloud is sold out and the node is locked", "node", k.config.Node, "until", until, "why", why)
	k.config.Recorder.Event(state.object, corev1.EventTypeWarning, string(policy.ReasonSoldOut), message)
	return k.condition(ctx, state, true, reasonLocked, message)
}

func lockedUntil(until time.Time, why string) string {
	return fmt.Sprintf("locked until %s, or until kubectl uncordon: %s", until.UTC().Format(time.RFC3339), why)
}

// unlock takes back what lock did. The Pods that still wait are given patience again.
func (k *Keeper) unlock(ctx context.Context, state *nodeState, reason, message string) error {
	patch := map[string]any{
		"metadata": map[string]any{
			"resourceVersion": state.object.ResourceVersion,
			"annotations":     map[string]any{policy.SoldOutUntilAnnotation: nil},
		},
		"spec": map[string]any{"unschedulable": nil},
	}
	if err := k.patchNode(ctx, state, patch); err != nil {
		return fmt.Errorf("unlocking node %s: %w", k.config.Node, err)
	}
	state.unschedulable, state.locked = false, false
	clear(k.waiting)
	clear(k.told)
	k.config.Logger.Info("the node is unlocked", "node", k.config.Node, "why", message)
	k.config.Recorder.Event(state.object, corev1.EventTypeNormal, reason, message)
	return k.condition(ctx, state, false, reason, message)
}

func (k *Keeper) patchNode(ctx context.Context, state *nodeState, patch map[string]any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	written, err := k.config.Client.CoreV1().Nodes().Patch(ctx, k.config.Node, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	state.object = written
	return nil
}

// condition says on the Node how it stands. While there is room the words say how that came about.
func (k *Keeper) condition(ctx context.Context, state *nodeState, soldOut bool, reason, message string) error {
	if found := state.condition(); found != nil && !soldOut && found.Status == corev1.ConditionFalse {
		return nil
	}
	return node.SetCondition(ctx, k.config.Client.CoreV1().Nodes(), state.object, conditionType, soldOut, reason, message, k.config.Now())
}
