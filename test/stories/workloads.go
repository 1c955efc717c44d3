package stories

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// playWorkloads sets a label that sends all Pods to the cloud on every kind of workload, although local nodes have
// capacity.
func playWorkloads(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "workloads.yaml"); err != nil {
		return err
	}
	for _, set := range []struct {
		app          string
		local, cloud int
	}{{"web", 0, 2}, {"db", 0, 2}, {"bare", 0, 1}, {"stays", 2, 0}} {
		if err := w.awaitRunning(ctx, set.app, set.local, set.cloud); err != nil {
			return err
		}
	}
	for _, job := range []struct {
		app  string
		pods int
	}{{"pi", 2}, {"cron", 1}} { // The CronJob may take up to a minute to create one.
		if err := w.awaitSucceededInCloud(ctx, job.app, job.pods); err != nil {
			return err
		}
	}
	return nil
}

// awaitSucceededInCloud blocks until at least the given number of Pods have succeeded, all of them in the cloud.
func (w *World) awaitSucceededInCloud(ctx context.Context, app string, want int) error {
	what := fmt.Sprintf("%d pods of %s to succeed in the cloud", want, app)
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		ended := 0
		for _, pod := range pods {
			if pod.Status.Phase == corev1.PodSucceeded && isVirtual(pod.Spec.NodeName) {
				ended++
			}
		}
		return ended >= want && ended == len(pods), fmt.Sprintf("%d of %d pods have succeeded", ended, len(pods)), nil
	})
	if err != nil {
		return err
	}
	w.printf("  %s: all its Pods succeeded in the cloud", app)
	return nil
}
