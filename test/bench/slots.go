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

// writeResult is what it takes to write slots down. Each list has an entry for each Pod.
type writeResult struct {
	// names is the number of names that filter was asked with.
	names int
	// patch is a bare patch of an annotation, sent by the measuring process to the API server.
	patch []time.Duration
	// first is the first answer about a Pod below its quota: its slot is written to the API server before.
	first []time.Duration
	// again is a later answer about the same Pod.
	again []time.Duration
}

// measureWrites asks about Pods below their quota for the first time, in turn with bare patches of other Pods, and about each once more
// when all have their slots.
func measureWrites(ctx context.Context, c *cluster, ours *asker, o options, out io.Writer) (writeResult, error) {
	r := writeResult{names: o.Names[0]}
	names := o.nodeNames(r.names)
	var wanted, others []*corev1.Pod
	for i := range o.Writes {
		wanted, others = append(wanted, quotaPod("written", i, o.Writes)), append(others, plainPod("patched", i))
	}
	others, err := c.createPods(ctx, others)
	if err != nil {
		return r, err
	}
	if wanted, err = c.createPods(ctx, wanted); err != nil {
		return r, err
	}
	// An extender that has answered about a later Pod has seen these, and waits for none.
	if err := c.ask(ctx, ours, quotaPod("later", 0, 1), names); err != nil {
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
	return r, c.askAgain(ctx, ours, names, &r.again)
}

// ask makes the Pod and asks about it once.
func (c *cluster) ask(ctx context.Context, ours *asker, pod *corev1.Pod, names []string) error {
	created, err := c.createPods(ctx, []*corev1.Pod{pod})
	if err != nil {
		return err
	}
	_, _, err = ours.filter(ctx, asScheduled(created[0]), names)
	return err
}

// askAgain asks about every Pod that was to get a slot, and finds fault with one that has none.
func (c *cluster) askAgain(ctx context.Context, ours *asker, names []string, times *[]time.Duration) error {
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
			return fmt.Errorf("pod %s has been let through to local nodes, and no slot is written on it", pod.Name)
		}
		if err := record(ctx, ours, pod, names, times); err != nil {
			return err
		}
	}
	return nil
}

// patch writes an annotation as long as a slot's, and returns how long that took.
func (c *cluster) patch(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	body := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{"spillway.io/bench-slot":%q}}}`, pod.UID, pod.UID)
	start := time.Now()
	_, err := c.Client().CoreV1().Pods(namespace).Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "bench"})
	if err != nil {
		return 0, fmt.Errorf("patching pod %s/%s: %w", namespace, pod.Name, err)
	}
	return time.Since(start), nil
}
