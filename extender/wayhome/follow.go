package wayhome

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// errStale means that a cache has not seen a change yet. The request is made again.
var errStale = errors.New("the object has changed")

// followSurges does what is next about each move with the successor first, and returns how many have not ended.
func (c *Controller) followSurges(ctx context.Context, caches *caches) (moving int) {
	seen := map[types.UID]bool{}
	for _, pod := range caches.moving() {
		if pod.DeletionTimestamp != nil {
			continue // It has ended.
		}
		seen[pod.UID] = true
		if c.evicted[pod.UID] {
			continue
		}
		moving++
		if err := c.followSurge(ctx, caches, pod); err != nil && !errors.Is(err, errStale) && ctx.Err() == nil {
			c.failed(err)
		}
	}
	gone := func(uid types.UID) bool { return !seen[uid] }
	maps.DeleteFunc(c.refused, func(uid types.UID, _ time.Time) bool { return gone(uid) })
	maps.DeleteFunc(c.evicted, func(uid types.UID, _ bool) bool { return gone(uid) })
	return moving
}

func (c *Controller) followSurge(ctx context.Context, caches *caches, pod *corev1.Pod) error {
	moving, _ := policy.MovingHomeOf(pod)
	m := move{
		MovingHome: moving, now: c.Now(), pod: pod, isLocal: c.Nodes.IsLocal,
		replicas:     caches.ofController(pod.Namespace, moving.ReplicaSetUID),
		refusedSince: c.refused[pod.UID],
	}
	var err error
	deployments, sets := c.Client.AppsV1().Deployments(pod.Namespace), c.Client.AppsV1().ReplicaSets(pod.Namespace)
	m.deployment, err = withUID(deployments.Get(ctx, moving.Deployment, metav1.GetOptions{}))(moving.DeploymentUID)
	if err != nil {
		return err
	}
	m.replicaSet, err = withUID(sets.Get(ctx, moving.ReplicaSet, metav1.GetOptions{}))(moving.ReplicaSetUID)
	if err != nil {
		return err
	}
	next, why := m.next()
	past := c.history.get(moving.ReplicaSetUID, m.now)
	var workload *corev1.ObjectReference
	if m.deployment != nil {
		object := reference("apps/v1", "Deployment", m.deployment)
		workload = &object
	}
	switch next {
	case wait:
		return nil
	case evict:
		refused, err := c.evict(ctx, pod, false)
		switch {
		case err != nil:
			return err
		case refused && c.refused[pod.UID].IsZero():
			c.refused[pod.UID] = m.now
			return nil
		case refused:
			return nil
		}
		c.evicted[pod.UID] = true
		c.metrics.moves.WithLabelValues(string(outcomeMoved)).Inc()
		c.history.pause(past, m.now)
		c.tell(pod, workload, corev1.EventTypeNormal, policy.ReasonMovedHome, "the Pod leaves the cloud: "+why)
		return nil
	}
	if err := c.takeBack(ctx, pod, moving, next == undo); err != nil {
		return err
	}
	c.metrics.moves.WithLabelValues(string(outcomeUndone)).Inc()
	c.history.fail(past, m.now)
	c.tell(pod, workload, corev1.EventTypeNormal, policy.ReasonStaysInCloud, "the Pod stays in the cloud: "+why+
		"; it is tried again after a pause")
	return nil
}

// takeBack undoes what a move has written to a Pod. It reads the Pod from the API server: vnode changes its status at
// any time.
func (c *Controller) takeBack(ctx context.Context, pod *corev1.Pod, moving policy.MovingHome, adopt bool) error {
	current, err := c.current(ctx, pod)
	if err != nil {
		return err
	}
	if _, ok := policy.MovingHomeOf(current); !ok {
		return errStale // It is done.
	}
	patch, err := undoPatch(current, moving, adopt)
	if err != nil {
		return err
	}
	return c.patch(ctx, current, patch)
}

// current reads a Pod from the API server. It returns errStale if there is another one now.
func (c *Controller) current(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	current, err := c.Client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && (current.UID != pod.UID || current.DeletionTimestamp != nil):
		return nil, errStale
	case err != nil:
		return nil, fmt.Errorf("reading pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return current, nil
}

// withUID returns an object that was read if it has a UID. An object that does not exist, or is another one of the same
// name, is none.
func withUID[T any, P interface {
	*T
	metav1.Object
}](object P, err error) func(types.UID) (P, error) {
	return func(uid types.UID) (P, error) {
		switch {
		case apierrors.IsNotFound(err), err == nil && object.GetUID() != uid:
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("reading what a moving pod belongs to: %w", err)
		}
		return object, nil
	}
}

// replacement is a move that has evicted its Pod first.
type replacement struct {
	pod      *corev1.Pod
	workload corev1.ObjectReference
	// others are the Pods of its controller that existed before.
	others map[types.UID]bool
	start  time.Time
}

// followReplacements ends the moves whose successor is Ready, and those that take too long. A workload that has no Pods
// any more, or wants fewer, gets no successor: it must not hold up the others.
func (c *Controller) followReplacements(caches *caches) {
	for uid, r := range c.replacing {
		now := c.Now()
		name := types.NamespacedName{Namespace: r.pod.Namespace, Name: r.pod.Name}
		if caches.pod(name) == nil && len(caches.ofController(name.Namespace, uid)) == 0 {
			c.metrics.moves.WithLabelValues(string(outcomeFailed)).Inc()
			delete(c.replacing, uid)
			continue
		}
		why, over := c.replaced(caches, uid, r, now)
		switch {
		case !over:
			continue
		case why == becauseHome:
			c.metrics.moves.WithLabelValues(string(outcomeMoved)).Inc()
			c.history.pause(c.history.get(uid, now), now)
			c.tell(r.pod, &r.workload, corev1.EventTypeNormal, policy.ReasonMovedHome, "the Pod has left the cloud: "+why)
		default:
			c.metrics.moves.WithLabelValues(string(outcomeFailed)).Inc()
			c.history.fail(c.history.get(uid, now), now)
			c.tell(r.pod, &r.workload, corev1.EventTypeWarning, policy.ReasonStaysInCloud,
				"the Pod was evicted to return from the cloud, and "+why+"; the next Pod is tried after a pause")
		}
		delete(c.replacing, uid)
	}
}

// replaced reports whether the move of a Pod that was evicted is over, and why.
func (c *Controller) replaced(
	caches *caches, controller types.UID, r replacement, now time.Time,
) (why string, over bool) {
	elapsed, successors := now.Sub(r.start), 0
	for _, pod := range caches.ofController(r.pod.Namespace, controller) {
		if pod.UID == r.pod.UID {
			return becauseSlow, elapsed > readyTime // It is still terminating.
		}
		if r.others[pod.UID] {
			continue
		}
		successors++
		switch {
		case pod.Spec.NodeName == "":
		case c.Nodes.IsVirtual(pod.Spec.NodeName):
			why = becauseCloud
		case readyCondition(pod) != nil:
			return becauseHome, true
		}
	}
	switch {
	case why != "":
		return why, true
	case successors == 0:
		return becauseMissing, elapsed > bindTime
	}
	return becauseSlow, elapsed > readyTime
}
