package stories

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// without plays a part of a story while a program is dead, and starts it again.
func (w *World) without(ctx context.Context, program string, play func(context.Context) error) error {
	w.tell("kill -9 of the %s", program)
	if err := w.system.Kill(program); err != nil {
		return err
	}
	err := play(ctx)
	w.tell("the %s is started again", program)
	return errors.Join(err, w.system.Restart(context.WithoutCancel(ctx), program))
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
		if err := w.apply(ctx, "plain.yaml"); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "plain", 2, 0); err != nil {
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

// playRestrictions starts Pods that no local node can hold and that the cloud cannot run: each waits and says why.
func playRestrictions(ctx context.Context, w *World) error {
	restricted := []struct {
		reason                    policy.Reason
		metadata, spec, container string
	}{
		{policy.ReasonLocalPortRange, "", `securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: "1024 65000"}]},`, largerThanHome},
		{policy.ReasonReservedPort, "", "", largerThanHome + "ports: [{containerPort: 61000}],"},
		{policy.ReasonProbePort, "", "", largerThanHome + "readinessProbe: {tcpSocket: {port: 65534}},"},
		{policy.ReasonFixedIP, "annotations: {" + policy.FixedIPAnnotation + ": Never},", "", largerThanHome},
		{policy.ReasonHostPath, "", "volumes: [{name: v, hostPath: {path: /var/log}}],", largerThanHome},
		{policy.ReasonPersistentVolume, "", "volumes: [{name: v, persistentVolumeClaim: {claimName: disk}}],", largerThanHome},
		{policy.ReasonEmptyDirSubPath, "", "volumes: [{name: v, emptyDir: {}}],", largerThanHome + "volumeMounts: [{name: v, mountPath: /v, subPath: s}],"},
		{policy.ReasonEmptyDirSizeLimit, "", "volumes: [{name: v, emptyDir: {sizeLimit: 1500Mi}}],", largerThanHome},
		{policy.ReasonHostNamespace, "", "hostNetwork: true,", largerThanHome},
		{policy.ReasonPrivileged, "", "", largerThanHome + "securityContext: {privileged: true},"},
		{policy.ReasonGRPCProbe, "", "", largerThanHome + "livenessProbe: {grpc: {port: 8080}},"},
		{policy.ReasonNoFlavor, "", "", `resources: {requests: {cpu: "65"}},`},
	}
	if _, err := w.kubectl(ctx, diskManifest(w.Namespace), "apply", "-f", "-"); err != nil {
		return err
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "", "delete", "persistentvolume", "story-disk", "--ignore-not-found", "--wait=false")
	}()
	for _, r := range restricted {
		if err := w.pod(ctx, strings.ToLower(string(r.reason)), r.metadata, r.spec, r.container); err != nil {
			return err
		}
	}
	for _, r := range restricted {
		if err := w.awaitWaiting(ctx, strings.ToLower(string(r.reason)), 0, 1, r.reason); err != nil {
			return err
		}
	}
	return nil
}

// diskManifest is a claim that is bound to a volume of a kind that the cloud cannot mount.
func diskManifest(namespace string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: List, items: [
  {apiVersion: v1, kind: PersistentVolume, metadata: {name: story-disk}, spec: {storageClassName: "", capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /disk}, claimRef: {name: disk, namespace: %s}}},
  {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk}, spec: {storageClassName: "", volumeName: story-disk, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}`, namespace)
}
