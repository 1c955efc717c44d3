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

// smallCPU is what a small node has: three Pods of a duel fit.
var smallCPU = resource.MustParse("1")

// weather is what happens to the cluster itself.
type weather struct {
	system *system.System
	client kubernetes.Interface
	log    *record.Log
}

// furnish makes what all histories need: labels on the nodes with room, small nodes, priority classes, and the switch turned on.
func furnish(ctx context.Context, s *system.System, wide, tight int) error {
	w := weather{system: s, client: s.Client()}
	for i := range wide {
		if err := w.patchNode(ctx, system.LocalNode(i), `{"metadata":{"labels":{"`+RoomLabel+`":"`+RoomWide+`"}}}`); err != nil {
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
	if _, err := s.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the switch: %w", err)
	}
	return nil
}

// play lets it happen, one after another.
func (w weather) play(ctx context.Context, events []plan.Event) error {
	for _, event := range events {
		if err := pause(ctx, event.After); err != nil {
			return err
		}
		if err := w.insist(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// insist tries until the API server has done it.
func (w weather) insist(ctx context.Context, event plan.Event) error {
	w.log.Add(record.Entry{Action: &record.Action{Do: string(event.Do), On: system.LocalNode(event.Node)}})
	for {
		err := w.happen(ctx, event)
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

func (w weather) happen(ctx context.Context, event plan.Event) error {
	node := system.LocalNode(event.Node)
	switch event.Do {
	case plan.SwitchOff:
		w.log.Add(record.Entry{Switch: &record.Switch{Off: true}})
		return w.turn(ctx, "false")
	case plan.SwitchOn:
		if err := w.turn(ctx, "true"); err != nil {
			return err
		}
		w.log.Add(record.Entry{Switch: &record.Switch{}})
		return nil
	case plan.Drain:
		return w.drain(ctx, node)
	case plan.Lose:
		return w.client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	case plan.Sicken:
		return w.setReady(ctx, node, corev1.ConditionFalse)
	case plan.Recover:
		return w.setReady(ctx, node, corev1.ConditionTrue)
	default:
		err := w.system.CreateLocalNode(ctx, node, func(n *corev1.Node) { n.Labels[RoomLabel] = RoomWide })
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Reason == metav1.StatusReasonAlreadyExists {
			return nil
		}
		return err
	}
}

// setReady has the node say whether it is ready. The node lifecycle controller taints it accordingly.
func (w weather) setReady(ctx context.Context, node string, ready corev1.ConditionStatus) error {
	body := `{"status":{"conditions":[{"type":"Ready","status":"` + string(ready) + `"}]}}`
	_, err := w.client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status")
	return err
}

func (w weather) turn(ctx context.Context, value string) error {
	body := `{"data":{"` + policy.SwitchKey + `":"` + value + `"}}`
	_, err := w.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).
		Patch(ctx, policy.SwitchConfigMapName, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// drain cordons the node, evicts its Pods and lets it be used again. It may be called again.
func (w weather) drain(ctx context.Context, node string) error {
	if err := w.patchNode(ctx, node, `{"spec":{"unschedulable":true}}`); err != nil {
		return err
	}
	list, err := w.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		err := w.client.CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return w.patchNode(ctx, node, `{"spec":{"unschedulable":null}}`)
}

func (w weather) patchNode(ctx context.Context, node, body string) error {
	_, err := w.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// runOtherScheduler binds the Pods of a namespace that are the other scheduler's until ctx ends: to any node with room, and whatever
// their quota is. It blocks.
func (w weather) runOtherScheduler(ctx context.Context, namespace string, nodes int) {
	unbound := metav1.ListOptions{FieldSelector: "spec.nodeName=,spec.schedulerName=" + plan.OtherScheduler}
	bound := 0
	for ctx.Err() == nil {
		list, err := w.client.CoreV1().Pods(namespace).List(ctx, unbound)
		if err != nil {
			list = &corev1.PodList{} // The API server is down.
		}
		for i := range list.Items {
			pod := &list.Items[i]
			bound++
			_ = w.client.CoreV1().Pods(namespace).Bind(ctx, &corev1.Binding{ // Those that fail are seen again.
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
				Target:     corev1.ObjectReference{Kind: "Node", Name: system.LocalNode(bound % nodes)},
			}, metav1.CreateOptions{})
		}
		if pause(ctx, 300*time.Millisecond) != nil {
			return
		}
	}
}
