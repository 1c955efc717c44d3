package play

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// smallCPU is the capacity of a small node. Three Pods of a duel fit.
var smallCPU = resource.MustParse("1")

// cluster applies cluster events.
type cluster struct {
	system *system.System
	client kubernetes.Interface
	log    *record.Log
}

// prepareCluster creates what all histories need: labels on the large nodes, the small nodes, the priority classes, and
// the switch, turned on.
func prepareCluster(ctx context.Context, s *system.System, wide, tight int) error {
	c := cluster{system: s, client: s.Client()}
	for i := range wide {
		if err := c.patchNode(ctx, system.LocalNode(i),
			`{"metadata":{"labels":{"`+RoomLabel+`":"`+RoomWide+`"}}}`); err != nil {
			return err
		}
	}
	for i := range tight {
		err := s.CreateLocalNode(ctx, TightNode(i), func(node *corev1.Node) {
			node.Labels[RoomLabel] = TightNode(i)
			node.Status.Allocatable = node.Status.Capacity.DeepCopy()
			node.Status.Allocatable[corev1.ResourceCPU] = smallCPU
		})
		if err != nil {
			return err
		}
	}
	for name, value := range plan.Priorities {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		if _, err := s.Client().SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating priority class %s: %w", name, err)
		}
	}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: policy.SwitchConfigMapName},
		Data:       map[string]string{policy.SwitchKey: "true"},
	}
	configMaps := s.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	if _, err := configMaps.Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the switch: %w", err)
	}
	return nil
}

// play applies the events one after another.
func (c cluster) play(ctx context.Context, events []plan.ClusterEvent) error {
	for _, event := range events {
		if err := pause(ctx, event.After); err != nil {
			return err
		}
		if err := c.insist(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// insist retries until the API server has applied the event.
func (c cluster) insist(ctx context.Context, event plan.ClusterEvent) error {
	c.log.Add(record.Entry{Action: &record.Action{Do: string(event.Do), On: system.LocalNode(event.Node)}})
	for {
		err := c.apply(ctx, event)
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err):
			return nil
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			return fmt.Errorf("playing %s: %w", event.Do, err)
		}
		if err := pause(ctx, retry); err != nil {
			return err
		}
	}
}

func (c cluster) apply(ctx context.Context, event plan.ClusterEvent) error {
	node := system.LocalNode(event.Node)
	switch event.Do {
	case plan.SwitchOff:
		c.log.Add(record.Entry{Switch: &record.Switch{Off: true}})
		return c.turn(ctx, "false")
	case plan.SwitchOn:
		if err := c.turn(ctx, "true"); err != nil {
			return err
		}
		c.log.Add(record.Entry{Switch: &record.Switch{}})
		return nil
	case plan.DrainNode:
		return c.drain(ctx, node)
	case plan.DeleteNode:
		return c.client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	case plan.NodeNotReady:
		return c.setReady(ctx, node, corev1.ConditionFalse)
	case plan.NodeReady:
		return c.setReady(ctx, node, corev1.ConditionTrue)
	default:
		err := c.system.CreateLocalNode(ctx, node, func(n *corev1.Node) { n.Labels[RoomLabel] = RoomWide })
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Reason == metav1.StatusReasonAlreadyExists {
			return nil
		}
		return err
	}
}

// setReady sets the node's condition Ready. The node lifecycle controller taints the node accordingly.
func (c cluster) setReady(ctx context.Context, node string, ready corev1.ConditionStatus) error {
	body := `{"status":{"conditions":[{"type":"Ready","status":"` + string(ready) + `"}]}}`
	nodes := c.client.CoreV1().Nodes()
	_, err := nodes.Patch(ctx, node, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status")
	return err
}

func (c cluster) turn(ctx context.Context, value string) error {
	body := `{"data":{"` + policy.SwitchKey + `":"` + value + `"}}`
	_, err := c.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).
		Patch(ctx, policy.SwitchConfigMapName, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// drain cordons the node, evicts its Pods and uncordons it. It can be called repeatedly.
func (c cluster) drain(ctx context.Context, node string) error {
	if err := c.patchNode(ctx, node, `{"spec":{"unschedulable":true}}`); err != nil {
		return err
	}
	list, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}}
		err := c.client.CoreV1().Pods(pod.Namespace).EvictV1(ctx, eviction)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return c.patchNode(ctx, node, `{"spec":{"unschedulable":null}}`)
}

func (c cluster) patchNode(ctx context.Context, node, body string) error {
	_, err := c.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// runOtherScheduler binds the Pods of a namespace that belong to the other scheduler, until ctx ends: to any large
// node, regardless of their quota. It blocks.
func (c cluster) runOtherScheduler(ctx context.Context, namespace string, nodes int) {
	unbound := metav1.ListOptions{FieldSelector: "spec.nodeName=,spec.schedulerName=" + plan.OtherScheduler}
	bound := 0
	for ctx.Err() == nil {
		list, err := c.client.CoreV1().Pods(namespace).List(ctx, unbound)
		if err != nil {
			list = &corev1.PodList{} // The API server is down.
		}
		for i := range list.Items {
			pod := &list.Items[i]
			bound++
			_ = c.client.CoreV1().Pods(namespace).Bind(ctx, &corev1.Binding{ // The next list contains those that fail.
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
				Target:     corev1.ObjectReference{Kind: "Node", Name: system.LocalNode(bound % nodes)},
			}, metav1.CreateOptions{})
		}
		if pause(ctx, 300*time.Millisecond) != nil {
			return
		}
	}
}
