package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// playHomeBudget lets a budget refuse every eviction, then one at a time.
func playHomeBudget(ctx context.Context, w *World) error {
	if err := w.budget(ctx, "db", 0); err != nil {
		return err
	}
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "home-statefulset.yaml"); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "db", 0, 3)
	})
	if err != nil {
		return err
	}
	before, err := w.pods(ctx, "db")
	if err != nil {
		return err
	}
	// The next Pod is refused, and the others wait for it.
	if err := w.awaitStaying(ctx, "evictionRefused", 3); err != nil {
		return err
	}
	if err := w.keepsAll(ctx, "db", before); err != nil {
		return err
	}
	if err := w.budget(ctx, "db", 1); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "db", 3, 0)
}

// playHomeMiddle does what users do while a Pod is on its way. Its successor counts as available after some seconds, so
// that there is a middle.
func playHomeMiddle(ctx context.Context, w *World) error {
	deployment := web{
		name: "web", replicas: 2, own: annotations{policy.WayHomeAnnotation: "true"}, labels: prefersLocal(),
		minReadySeconds: 4,
	}
	if err := w.startedInCloud(ctx, deployment); err != nil {
		return err
	}
	if err := w.awaitMoving(ctx, "web", true); err != nil {
		return err
	}
	w.printf("  an update begins in the middle of a move:")
	if err := w.run(ctx, "set", "image", "deployment/web", "main=nginx:2"); err != nil {
		return err
	}
	// Local nodes have room, so the new revision is local. No Pod of the former one is left.
	if err := w.awaitRunning(ctx, "web", 2, 0); err != nil {
		return err
	}
	if err := w.awaitMoving(ctx, "web", false); err != nil {
		return err
	}
	deployment.name = "scaled"
	if err := w.startedInCloud(ctx, deployment); err != nil {
		return err
	}
	if err := w.awaitMoving(ctx, "scaled", true); err != nil {
		return err
	}
	w.printf("  a scale-out and a scale-in come in the middle of a move:")
	for _, replicas := range []string{"--replicas=3", "--replicas=1"} {
		if err := w.run(ctx, "scale", "deployment", "scaled", replicas); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "scaled", 1, 0); err != nil {
		return err
	}
	deployment.name = "deleted"
	if err := w.startedInCloud(ctx, deployment); err != nil {
		return err
	}
	if err := w.awaitMoving(ctx, "deleted", true); err != nil {
		return err
	}
	w.printf("  the Deployment is deleted in the middle of a move:")
	if err := w.run(ctx, "delete", "deployment", "deleted"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "deleted", 0, 0)
}

// awaitMoving blocks until a Pod of the app is on its way, or none.
func (w *World) awaitMoving(ctx context.Context, app string, want bool) error {
	what := fmt.Sprintf("a pod of %s to move: %t", app, want)
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		var moving []string
		for i := range pods {
			if pods[i].Annotations[policy.MovingHomeAnnotation] != "" {
				moving = append(moving, pods[i].Name)
			}
		}
		return (len(moving) > 0) == want, "these move: " + strings.Join(moving, ", "), nil
	})
}

// playHomeBack lets a Pod that has returned burst again. Another workload that returns meanwhile shows that there was
// the time.
func playHomeBack(ctx context.Context, w *World) error {
	returning := annotations{policy.WayHomeAnnotation: "true"}
	if err := w.startedInCloud(ctx, web{name: "web", replicas: 1, own: returning, labels: prefersLocal()}); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "web", 1, 0); err != nil {
		return err
	}
	var back []corev1.Pod
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.run(ctx, "delete", "pod", "-l", "app=web"); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "web", 0, 1); err != nil {
			return err
		}
		var err error
		if back, err = w.pods(ctx, "web"); err != nil {
			return err
		}
		return w.startInCloud(ctx, web{name: "other", replicas: 2, own: returning, labels: prefersLocal()})
	})
	if err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "other", 2, 0); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "web", 0, 1); err != nil {
		return err
	}
	return w.keepsAll(ctx, "web", back)
}
