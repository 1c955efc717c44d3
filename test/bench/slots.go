package main

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// writeResult contains the times for writing slots. Each list has an entry per Pod.
type writeResult struct {
	// names is the number of names with which filter was called.
	names int
	// patch is a bare patch of an annotation, which the measuring process sends to the API server.
	patch []time.Duration
	// first is the first call for a Pod below its quota. The extender writes the slot to the API server before it answers.
	first []time.Duration
	// again is a later call for the same Pod.
	again []time.Duration
}

// measureWrites calls the extender for the first time for Pods below their quota, in turn with bare patches of other
// Pods. When all have their slots, it calls the extender again for each.
func measureWrites(ctx context.Context, c *cluster, ours *caller, o options, out io.Writer) (writeResult, error) {
	r := writeResult{names: o.Names[0]}
	names := o.nodeNames(r.names)
	var wanted, others []*corev1.Pod
	for i := range o.Writes {
		wanted, others = append(wanted, quotaPod("written", i, o.Writes)), append(others, unmanagedPod("patched", i))
	}
	others, err := c.createPods(ctx, others)
	if err != nil {
		return r, err
	}
	if wanted, err = c.createPods(ctx, wanted); err != nil {
		return r, err
	}
	// An extender that has answered for a later Pod has observed these Pods, and does not wait for its watch.
	if err := c.call(ctx, ours, quotaPod("later", 0, 1), names); err != nil {
		return r, err
	}
	for i := range wanted {
		took, err := c.patch(ctx, others[i])
		if err != nil {
			return r, err
		}
		r.patch = append(r.patch, took)
		if err := record(ctx, ours, asScheduled(wanted[i]), names, &r.first); err != nil {
			return r, err
		}
	}
	fmt.Fprintf(out, "wrote %d slots\n", len(r.first))
	return r, c.callAgain(ctx, ours, names, &r.again)
}

// call creates the Pod and calls the extender for it once.
func (c *cluster) call(ctx context.Context, ours *caller, pod *corev1.Pod, names []string) error {
	created, err := c.createPods(ctx, []*corev1.Pod{pod})
	if err != nil {
		return err
	}
	_, _, err = ours.filter(ctx, asScheduled(created[0]), names)
	return err
}

// callAgain calls the extender for every Pod that should have a slot. It fails if one has none.
func (c *cluster) callAgain(ctx context.Context, ours *caller, names []string, times *[]time.Duration) error {
	pods, err := c.listPods(ctx)
	if err != nil {
		return err
	}
	for i := range pods {
		pod := asScheduled(&pods[i])
		if pod.Labels["app"] != "written" {
			continue
		}
		if pod.Annotations[policy.LocalSlotAnnotation] != string(pod.UID) {
			return fmt.Errorf("pod %s may run on local nodes but has no slot", pod.Name)
		}
		if err := record(ctx, ours, pod, names, times); err != nil {
			return err
		}
	}
	return nil
}

// patch writes an annotation of the same length as a slot, and returns how long that took.
func (c *cluster) patch(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	body := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{"spillway.io/bench-slot":%q}}}`, pod.UID, pod.UID)
	start := time.Now()
	_, err := c.Client().CoreV1().Pods(namespace).Patch(ctx, pod.Name, types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: "bench"})
	if err != nil {
		return 0, fmt.Errorf("patching pod %s/%s: %w", namespace, pod.Name, err)
	}
	return time.Since(start), nil
}
