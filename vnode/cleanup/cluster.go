package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// pageSize is how many Pods a list takes at once.
	pageSize = 500
	// poll is between two looks.
	poll = time.Second
)

// clusterCleaner is what Spillway leaves. All its methods may be called again; their errors name what could not be removed.
type clusterCleaner struct {
	client kubernetes.Interface
	// clusterID tells virtual nodes of this Spillway from others.
	clusterID string
	// say is told what was done, in sentences.
	say func(format string, args ...any)
}

// awaitPrograms returns when none of the Pods is there any more: they would make again what is removed. It fails when ctx ends before.
func (c *clusterCleaner) awaitPrograms(ctx context.Context, namespace, selector string) error {
	for {
		list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err == nil && len(list.Items) == 0 {
			c.say("None of Spillway's programs runs any more.")
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("asking for Spillway's programs: %w", err)
			}
			return fmt.Errorf("%d Pods of Spillway's programs in namespace %s, such as %s, which should end", len(list.Items), namespace, list.Items[0].Name)
		case <-time.After(poll):
		}
	}
}

// removeNodes deletes the virtual nodes and returns their names. The Leases of their heartbeats go with them.
func (c *clusterCleaner) removeNodes(ctx context.Context) ([]string, error) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{
		policy.NodeTypeLabel: policy.NodeTypeVirtual, policy.CloudClusterKey: c.clusterID,
	}).String()})
	if err != nil {
		return nil, fmt.Errorf("virtual nodes: listing them: %w", err)
	}
	var names []string
	var faults []error
	for i := range list.Items {
		node := &list.Items[i]
		names = append(names, node.Name)
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(node.UID))}
		if err := c.client.CoreV1().Nodes().Delete(ctx, node.Name, options); err != nil && !apierrors.IsNotFound(err) {
			faults = append(faults, fmt.Errorf("virtual node %s: %w", node.Name, err))
			continue
		}
		c.say("Virtual node %s deleted.", node.Name)
	}
	return names, errors.Join(faults...)
}

// endPods deletes the Pods on nodes that are no more: nobody else would. By force they are gone when it returns; otherwise they are gone from
// Services and are made again elsewhere, as far as somebody makes them.
func (c *clusterCleaner) endPods(ctx context.Context, nodes []string, force bool) error {
	var faults []error
	ended := 0
	for _, node := range nodes {
		selector := fields.OneTermEqualSelector("spec.nodeName", node)
		faults = append(faults, c.eachPod(ctx, selector, func(pod *corev1.Pod) error {
			if !force && pod.DeletionTimestamp != nil {
				return nil
			}
			ended++
			return c.deletePod(ctx, pod, force)
		}))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("ending Pods on virtual nodes: %w", err)
	}
	if ended > 0 && !force {
		c.say("%d Pods on virtual nodes told to end.", ended)
	}
	return nil
}

// replaceWaiting deletes the Pods that wait with the mark that makes the scheduler ask the extender, which is no more: the mark cannot be taken
// off a Pod. Who made them makes them again without. Those that nobody made are an error.
func (c *clusterCleaner) replaceWaiting(ctx context.Context) error {
	replaced, alone := 0, []string(nil)
	err := c.eachPod(ctx, fields.OneTermEqualSelector("spec.nodeName", ""), func(pod *corev1.Pod) error {
		if !policy.NeedsPlacement(&pod.Spec) || pod.DeletionTimestamp != nil {
			return nil
		}
		if metav1.GetControllerOfNoCopy(pod) == nil {
			alone = append(alone, pod.Namespace+"/"+pod.Name)
			return nil
		}
		replaced++
		return c.deletePod(ctx, pod, false)
	})
	if replaced > 0 {
		c.say("%d waiting Pods deleted that only Spillway's scheduler could place: who made them makes them again.", replaced)
	}
	if len(alone) > 0 {
		err = errors.Join(err, fmt.Errorf("%d waiting Pods that nobody makes again and no scheduler will place, such as %s", len(alone), alone[0]))
	}
	return err
}

// deletePod deletes the Pod, and none that has its name by then.
func (c *clusterCleaner) deletePod(ctx context.Context, pod *corev1.Pod, force bool) error {
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
	if force {
		options.GracePeriodSeconds = new(int64)
	}
	err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// eachPod does something with all Pods that a selector chooses, page by page.
func (c *clusterCleaner) eachPod(ctx context.Context, selector fields.Selector, do func(*corev1.Pod) error) error {
	options := metav1.ListOptions{FieldSelector: selector.String(), Limit: pageSize}
	var faults []error
	for {
		page, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return errors.Join(append(faults, fmt.Errorf("listing Pods: %w", err))...)
		}
		for i := range page.Items {
			faults = append(faults, do(&page.Items[i]))
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return errors.Join(faults...)
		}
	}
}
