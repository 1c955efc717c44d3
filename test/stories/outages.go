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

// plainRunsUntouched starts Pods without a key, and holds that the scheduler placed each at its first attempt and that nothing of
// Spillway's is on them: as if it did not exist.
func (w *World) plainRunsUntouched(ctx context.Context) error {
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
		failed, err := w.saidTo(ctx, &pods[i], "FailedScheduling")
		if err != nil {
			return err
		}
		if failed != "" {
			return fmt.Errorf("pod %s has no key, and the scheduler first failed: %s", pods[i].Name, failed)
		}
		pods[i].ManagedFields = nil
		text, err := json.Marshal(pods[i])
		if err != nil {
			return fmt.Errorf("encoding pod %s: %w", pods[i].Name, err)
		}
		for _, trace := range []string{"spillway.io", policy.ProviderTaintKey, policy.NodeTypeVirtual} {
			if strings.Contains(string(text), trace) {
				return fmt.Errorf("pod %s has no key, and %s is on it: %s", pods[i].Name, trace, text)
			}
		}
	}
	w.tell("  each was placed at the first attempt, and nothing of Spillway's is on it")
	return nil
}

// without plays a part of a story while a program is dead, and starts it again.
func (w *World) without(ctx context.Context, program string, play func(context.Context) error) error {
	w.tell("kill -9 of the %s", program)
	if err := w.cluster.Programs.Kill(program); err != nil {
		return err
	}
	err := play(ctx)
	w.tell("the %s is started again", program)
	return errors.Join(err, w.cluster.Programs.Restart(context.WithoutCancel(ctx), program))
}

// pod applies a Pod of one container with the burst label localPrefer, its label app being its name. metadata, spec and container are
// flow YAML that is added, each ending with a comma.
func (w *World) pod(ctx context.Context, name, metadata, spec, container string) error {
	manifest := fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %[1]s, %[2]s labels: {app: %[1]s, %[3]s: localPrefer}}, spec: {%[4]s containers: [{name: main, image: nginx, %[5]s}]}}",
		name, metadata, policy.BurstLabel, spec, container)
	_, err := w.kubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

func playExtenderDown(ctx context.Context, w *World) error {
	err := w.without(ctx, system.Extender, func(ctx context.Context) error {
		if err := w.plainRunsUntouched(ctx); err != nil {
			return err
		}
		if err := w.pod(ctx, "keyed", "", "", ""); err != nil {
			return err
		}
		return w.await(ctx, "the keyed pod to wait with the error in its condition", func(ctx context.Context) (bool, string, error) {
			pods, err := w.pods(ctx, "keyed")
			if err != nil || len(pods) != 1 {
				return false, "", err
			}
			for _, c := range pods[0].Status.Conditions {
				if c.Type == corev1.PodScheduled {
					return c.Reason == corev1.PodReasonSchedulerError && strings.Contains(c.Message, "connection refused"), c.Message, nil
				}
			}
			return false, "it has no condition", nil
		})
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "keyed", 1, 0)
}

func playAdmissionDown(ctx context.Context, w *World) error {
	err := w.without(ctx, system.Admission, func(ctx context.Context) error {
		if err := w.plainRunsUntouched(ctx); err != nil {
			return err
		}
		if err := w.pod(ctx, "fits", "", "", ""); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "fits", 1, 0); err != nil {
			return err
		}
		if err := w.pod(ctx, "too-large", "", "", largerThanHome); err != nil {
			return err
		}
		return w.await(ctx, "the large pod to wait", func(ctx context.Context) (bool, string, error) {
			pods, err := w.pods(ctx, "too-large")
			if err != nil || len(pods) != 1 {
				return false, "", err
			}
			return refusalOf(&pods[0]) != "", "the scheduler has not tried it", nil
		})
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "too-large", 0, 1)
}

// largerThanHome asks for more than a local node of the trial system has.
const largerThanHome = `resources: {requests: {cpu: "5"}},`
