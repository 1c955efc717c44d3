package stories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// unmanagedRunsUntouched creates unmanaged Pods. It checks that the scheduler placed each of them at the first attempt
// and that they carry nothing of Spillway, as if Spillway was not installed.
func (w *World) unmanagedRunsUntouched(ctx context.Context) error {
	if err := w.apply(ctx, "plain.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "plain", 2, 0); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "plain")
	if err != nil {
		return err
	}
	for i := range pods {
		failed, err := w.eventMessage(ctx, &pods[i], "FailedScheduling")
		if err != nil {
			return err
		}
		if failed != "" {
			return fmt.Errorf("pod %s is not managed, but the scheduler first failed: %s", pods[i].Name, failed)
		}
		pods[i].ManagedFields = nil
		text, err := json.Marshal(pods[i])
		if err != nil {
			return fmt.Errorf("encoding pod %s: %w", pods[i].Name, err)
		}
		for _, trace := range []string{"spillway.io", policy.ProviderTaintKey, policy.NodeTypeVirtual} {
			if strings.Contains(string(text), trace) {
				return fmt.Errorf("pod %s is not managed, but contains %s: %s", pods[i].Name, trace, text)
			}
		}
	}
	w.printf("  each was placed at the first attempt and carries nothing of Spillway")
	return nil
}

// without runs a part of a story while a program is down, and then restarts the program.
func (w *World) without(ctx context.Context, program string, play func(context.Context) error) error {
	w.printf("kill -9 of the %s", program)
	if err := w.cluster.Programs.Kill(program); err != nil {
		return err
	}
	err := play(ctx)
	w.printf("the %s is restarted", program)
	return errors.Join(err, w.cluster.Programs.Restart(context.WithoutCancel(ctx), program))
}

// pod applies a Pod of one container with the burst label localPrefer. Its label app is its name. The arguments
// metadata, spec and container are additional flow YAML. Each ends with a comma.
func (w *World) pod(ctx context.Context, name, metadata, spec, container string) error {
	const format = "{apiVersion: v1, kind: Pod, metadata: {name: %[1]s, %[2]s labels: {app: %[1]s, %[3]s: " +
		"localPrefer}}, " +
		"spec: {%[4]s containers: [{name: main, image: nginx, %[5]s}]}}"
	manifest := fmt.Sprintf(format, name, metadata, policy.BurstLabel, spec, container)
	_, err := w.kubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

func playExtenderDown(ctx context.Context, w *World) error {
	err := w.without(ctx, system.Extender, func(ctx context.Context) error {
		if err := w.unmanagedRunsUntouched(ctx); err != nil {
			return err
		}
		if err := w.pod(ctx, "managed", "", "", ""); err != nil {
			return err
		}
		what := "the managed pod to wait with the error in its condition"
		return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
			pods, err := w.pods(ctx, "managed")
			if err != nil || len(pods) != 1 {
				return false, "", err
			}
			c := policy.PodCondition(&pods[0], corev1.PodScheduled)
			if c == nil {
				return false, "the pod has no condition", nil
			}
			refused := strings.Contains(c.Message, "connection refused")
			return c.Reason == corev1.PodReasonSchedulerError && refused, c.Message, nil
		})
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "managed", 1, 0)
}

func playAdmissionDown(ctx context.Context, w *World) error {
	err := w.without(ctx, system.Admission, func(ctx context.Context) error {
		if err := w.unmanagedRunsUntouched(ctx); err != nil {
			return err
		}
		if err := w.pod(ctx, "fits", "", "", ""); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "fits", 1, 0); err != nil {
			return err
		}
		if err := w.pod(ctx, "too-large", "", "", largerThanLocal); err != nil {
			return err
		}
		return w.await(ctx, "the large pod to wait", func(ctx context.Context) (bool, string, error) {
			pods, err := w.pods(ctx, "too-large")
			if err != nil || len(pods) != 1 {
				return false, "", err
			}
			return schedulingMessage(&pods[0]) != "", "the scheduler has not tried to place it", nil
		})
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "too-large", 0, 1)
}

// largerThanLocal requests more CPU than a local node of the trial system has.
const largerThanLocal = `resources: {requests: {cpu: "5"}},`
