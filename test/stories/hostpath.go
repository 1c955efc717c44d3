package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func playHostPath(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "hostpath.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "test", 0, 2); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "test")
	if err != nil {
		return err
	}
	clouds, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := checkReplaced(clouds[pod.UID]); err != nil {
			return err
		}
	}
	w.printPods(ctx)
	w.printf("  each cloud Pod has one emptyDir of 10Gi at /tmp/log, and not the two volumes with the policy remove")
	return nil
}

// checkReplaced checks that three hostPath volumes were replaced by one emptyDir of 10Gi with its mount.
func checkReplaced(pod corev1.Pod) error {
	volumes, mounts := ownVolumes(pod)
	if len(volumes) != 1 || len(pod.Spec.Containers) != 1 {
		return fmt.Errorf("cloud pod %q has volumes %v: want one", pod.Name, volumes)
	}
	volume, want := volumes[0], resource.MustParse("10Gi")
	if volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil || volume.EmptyDir.SizeLimit.Cmp(want) != 0 {
		return fmt.Errorf("cloud pod %s has volume %v: want an emptyDir of 10Gi", pod.Name, volume)
	}
	if len(mounts) != 1 || mounts[0].Name != volume.Name || mounts[0].MountPath != "/tmp/log" {
		return fmt.Errorf("cloud pod %s has mounts %v: want only /tmp/log", pod.Name, mounts)
	}
	return nil
}

// ownVolumes returns the volumes of a Pod and the mounts of its first container, without those that Kubernetes adds for
// the token of the ServiceAccount.
func ownVolumes(pod corev1.Pod) (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
	const added = "kube-api-access-"
	for _, v := range pod.Spec.Volumes {
		if !strings.HasPrefix(v.Name, added) {
			volumes = append(volumes, v)
		}
	}
	for _, c := range pod.Spec.Containers[:min(1, len(pod.Spec.Containers))] {
		for _, m := range c.VolumeMounts {
			if !strings.HasPrefix(m.Name, added) {
				mounts = append(mounts, m)
			}
		}
	}
	return volumes, mounts
}
