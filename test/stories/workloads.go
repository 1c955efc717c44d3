package stories

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// playWorkloads has a label on every kind of workload that sends all Pods to the cloud, though there is room at home.
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
	}{{"pi", 2}, {"cron", 1}} { // The CronJob's first minute may take one.
		if err := w.awaitSucceededInCloud(ctx, job.app, job.pods); err != nil {
			return err
		}
	}
	return nil
}

// awaitSucceededInCloud blocks until so many Pods at least have ended well, all of them in the cloud.
func (w *World) awaitSucceededInCloud(ctx context.Context, app string, want int) error {
	err := w.await(ctx, fmt.Sprintf("%d pods of %s to end well in the cloud", want, app), func(ctx context.Context) (bool, string, error) {
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
		return ended >= want && ended == len(pods), fmt.Sprintf("%d of %d pods have", ended, len(pods)), nil
	})
	if err != nil {
		return err
	}
	w.tell("  %s: all its Pods ran in the cloud and ended well", app)
	return nil
}
