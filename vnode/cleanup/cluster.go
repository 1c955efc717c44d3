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

// pageSize is the number of Pods in one page of a list.
const pageSize = 500

// clusterCleaner deletes what Spillway's programs created in the cluster while they ran and no one manages once they
// are gone: virtual nodes and the Pods on them, their CertificateSigningRequests, and waiting Pods that no scheduler
// would ever place. All its methods may be called again. Their errors name what could not be deleted.
type clusterCleaner struct {
	client kubernetes.Interface
	// clusterID distinguishes the virtual nodes of this Spillway from others.
	clusterID string
	// scheduler is the scheduler that was installed with Spillway, empty if there was none.
	scheduler string
	// poll is the time between two checks whether something is gone.
	poll time.Duration
	// printf prints a sentence about what was done.
	printf func(format string, args ...any)
}

// awaitPrograms returns when none of the Pods exists anymore: a running program would create again what is deleted.
// It fails if ctx ends earlier.
func (c *clusterCleaner) awaitPrograms(ctx context.Context, namespace, selector string) error {
	for {
		list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err == nil && len(list.Items) == 0 {
			c.printf("None of Spillway's programs is running.")
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("listing the Pods of Spillway's programs: %w", err)
			}
			return fmt.Errorf("%d Pods of Spillway's programs in namespace %s, such as %s, which have not stopped",
				len(list.Items), namespace, list.Items[0].Name)
		case <-time.After(c.poll):
		}
	}
}

// deleteNodes deletes the virtual nodes and returns their names. The garbage collector deletes the Leases of their
// heartbeats.
func (c *clusterCleaner) deleteNodes(ctx context.Context) ([]string, error) {
	set := labels.Set(policy.VirtualNodeLabels())
	set[policy.CloudClusterKey] = c.clusterID
	selector := labels.SelectorFromSet(set)
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("virtual nodes: listing them: %w", err)
	}
	var names []string
	var errs []error
	for i := range list.Items {
		node := &list.Items[i]
		names = append(names, node.Name)
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(node.UID))}
		if err := c.client.CoreV1().Nodes().Delete(ctx, node.Name, options); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("virtual node %s: %w", node.Name, err))
			continue
		}
		c.printf("Virtual node %s deleted.", node.Name)
	}
	return names, errors.Join(errs...)
}

// deletePods deletes the Pods on nodes that no longer exist: nothing else would. With force they are gone when it
// returns. Without, they are removed from Services, and their controllers create them again elsewhere.
func (c *clusterCleaner) deletePods(ctx context.Context, nodes []string, force bool) error {
	var errs []error
	deleted := 0
	for _, node := range nodes {
		selector := fields.OneTermEqualSelector("spec.nodeName", node)
		errs = append(errs, c.eachPod(ctx, selector, func(pod *corev1.Pod) error {
			if !force && pod.DeletionTimestamp != nil {
				return nil
			}
			deleted++
			return c.deletePod(ctx, pod, force)
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deleting Pods on virtual nodes: %w", err)
	}
	if deleted > 0 && !force {
		c.printf("%d Pods on virtual nodes deleted.", deleted)
	}
	return nil
}

// replaceWaiting deletes the waiting Pods of a scheduler that no longer exists, and those with the marker resource, for
// which a scheduler calls an extender that no longer exists. Neither can be removed from a Pod. The Pods' controllers
// create them again without them. A Pod without a controller is an error.
func (c *clusterCleaner) replaceWaiting(ctx context.Context) error {
	replaced, alone := 0, []string(nil)
	err := c.eachPod(ctx, fields.OneTermEqualSelector("spec.nodeName", ""), func(pod *corev1.Pod) error {
		orphan := c.scheduler != "" && pod.Spec.SchedulerName == c.scheduler
		if !orphan && !policy.NeedsPlacement(&pod.Spec) || pod.DeletionTimestamp != nil {
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
		c.printf(
			"%d waiting Pods deleted that only Spillway's scheduler could place: their controllers create them again.",
			replaced,
		)
	}
	if len(alone) > 0 {
		err = errors.Join(
			err,
			fmt.Errorf("%d waiting Pods without a controller that no scheduler can place, such as %s",
				len(alone), alone[0]),
		)
	}
	return err
}

// deletePod deletes this Pod. The UID ensures that a newer Pod of the same name is kept.
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

// eachPod calls do for all Pods that match a selector, page by page.
func (c *clusterCleaner) eachPod(ctx context.Context, selector fields.Selector, do func(*corev1.Pod) error) error {
	options := metav1.ListOptions{FieldSelector: selector.String(), Limit: pageSize}
	var errs []error
	for {
		page, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("listing Pods: %w", err))...)
		}
		for i := range page.Items {
			errs = append(errs, do(&page.Items[i]))
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return errors.Join(errs...)
		}
	}
}
