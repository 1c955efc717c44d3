package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

func playQuota(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	w.printPods(ctx)
	if err := w.noWarnings(ctx); err != nil {
		return err
	}
	return w.cloudIPs(ctx, "nginx")
}

// noWarnings checks that no Event tells of a change that did not happen.
func (w *World) noWarnings(ctx context.Context) error {
	events, err := w.client.CoreV1().Events(w.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing Events: %w", err)
	}
	for _, event := range events.Items {
		if event.Reason == "CloudPodStays" || strings.HasPrefix(event.Reason, "CloudPodKeeps") {
			return fmt.Errorf("pod %s has the Event %s: %s", event.InvolvedObject.Name, event.Reason, event.Message)
		}
	}
	return nil
}

// startNginx creates the Deployment of TKE Resilience (docs/sources.md): four replicas, one of them local.
func (w *World) startNginx(ctx context.Context) error {
	if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}

// cloudIPs checks that every cloud Pod has the IP address that the cloud assigned to it, and that no two have the same.
func (w *World) cloudIPs(ctx context.Context, app string) error {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	clouds, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	var addresses []string
	for _, pod := range pods {
		if !isVirtual(pod.Spec.NodeName) {
			continue
		}
		cloud, ok := clouds[pod.UID]
		ip, want := pod.Status.PodIP, cloud.Status.PodIP
		if !ok || ip == "" || ip != want || slices.Contains(addresses, ip) {
			return fmt.Errorf("pod %s has IP %q: want the IP of its cloud pod, %q, and no other pod's",
				pod.Name, ip, want)
		}
		addresses = append(addresses, ip)
	}
	w.printf("  cloud addresses: %s", strings.Join(addresses, " "))
	return nil
}

func playScale(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	local, err := w.localPods(ctx, "nginx")
	if err != nil {
		return err
	}
	for _, replicas := range []int{3, 10, 1} {
		if err := w.awaitRanked(ctx, "nginx"); err != nil {
			return err
		}
		count := fmt.Sprintf("--replicas=%d", replicas)
		if err := w.run(ctx, "scale", "deployment", "nginx-deployment", count); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "nginx", 1, replicas-1); err != nil {
			return err
		}
	}
	remaining, err := w.localPods(ctx, "nginx")
	if err != nil {
		return err
	}
	if !slices.Equal(local, remaining) {
		return fmt.Errorf("the local replica is now %v: want %v, as at the beginning", remaining, local)
	}
	w.printf("  %s has remained throughout", local[0])
	return nil
}

// awaitRanked blocks until every cloud Pod is ranked for scale-in.
func (w *World) awaitRanked(ctx context.Context, app string) error {
	what := "the cloud pods of " + app + " to be ranked for scale-in"
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		for _, pod := range pods {
			cost, ranked := pod.Annotations[policy.DeletionCostAnnotation]
			if isVirtual(pod.Spec.NodeName) != ranked {
				return false, fmt.Sprintf("pod %s on %s has the cost %q", pod.Name, pod.Spec.NodeName, cost), nil
			}
		}
		return true, "", nil
	})
}

func playRollout(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	if err := w.run(ctx, "set", "image", "deployment/nginx-deployment", "nginx=nginx:1.29"); err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "status", "deployment/nginx-deployment", "--timeout=90s"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "nginx", 1, 3); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "nginx")
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if image := pod.Spec.Containers[0].Image; image != "nginx:1.29" {
			return fmt.Errorf("pod %s still has image %s", pod.Name, image)
		}
	}
	w.printPods(ctx)
	return nil
}

// playFullRollout updates a Deployment while its local replicas fill the local nodes: a Pod fits on a node alone, and
// one of the three nodes is cordoned. How many of the new Pods find the room of an old one is a matter of moments.
func playFullRollout(ctx context.Context, w *World) (err error) {
	cordoned := system.LocalNode(2)
	if err := w.run(ctx, "cordon", cordoned); err != nil {
		return err
	}
	defer func() {
		if uncordonErr := w.run(context.WithoutCancel(ctx), "uncordon", cordoned); err == nil {
			err = uncordonErr
		}
	}()
	if err := w.apply(ctx, "full-rollout.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "full", 2, 2); err != nil {
		return err
	}
	// The cost of each cloud Pod determines which Pods the update deletes first.
	if err := w.awaitRanked(ctx, "full"); err != nil {
		return err
	}
	if err := w.run(ctx, "set", "image", "deployment/full", "main=nginx:1.29"); err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "status", "deployment/full", "--timeout=90s"); err != nil {
		return err
	}
	var pods []corev1.Pod
	// Real nodes take a while to end Pods, whose room is needed next.
	err = w.await(ctx, "the old pods of full to be gone", func(ctx context.Context) (bool, string, error) {
		var err error
		pods, err = w.pods(ctx, "full")
		return err == nil && count(pods).terminating == 0, count(pods).String(), err
	})
	if err != nil {
		return err
	}
	if updated := count(pods); updated.local > 2 {
		return fmt.Errorf("after the update %d Pods are local: must be at most 2", updated.local)
	}
	remove := []string{"delete", "pod", "--wait=false"}
	for _, pod := range pods {
		if isVirtual(pod.Spec.NodeName) {
			remove = append(remove, pod.Name)
		}
	}
	w.printf("  the update is done; the cloud Pods are deleted, so that the quota is filled again")
	if err := w.run(ctx, remove...); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "full", 2, 2)
}
