package stories

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// replacements are the examples of CCE bursting (docs/sources.md), unchanged, and the volumes that remain. Where the
// annotation selects every hostPath with "*", the Pod has /etc/localtime too.
var replacements = []struct {
	name, annotation string
	hostPaths        []string // The numbers of the volumes source-hostpath-volume-<number>, or the path of one.
	want             []string // Volumes of the cloud Pod, each "name sizeLimit", mounted at the path of the hostPath.
}{
	{
		"one-becomes-empty-dir",
		`[{"name":"source-hostpath-volume-3","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}}]`,
		[]string{"source-hostpath-volume-3"}, []string{"source-hostpath-volume-3 10Gi"},
	},
	{
		"one-is-removed", `[{"name":"source-hostpath-volume-1","policyType":"remove"}]`,
		[]string{"source-hostpath-volume-1"}, nil,
	},
	{
		"all-are-removed", `[{"name":"*","policyType":"remove"}]`,
		[]string{"source-hostpath-volume-1", "source-hostpath-volume-2", localtimeVolume}, nil,
	},
	{
		"several",
		`[{"name":"source-hostpath-volume-1","policyType":"remove"},` +
			`{"name":"source-hostpath-volume-3","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}}]`,
		[]string{"source-hostpath-volume-1", "source-hostpath-volume-3"}, []string{"source-hostpath-volume-3 10Gi"},
	},
	{
		"localtime-by-star",
		`[{"name":"*","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"1Gi"}}]`,
		[]string{"source-hostpath-volume-1", localtimeVolume}, []string{"source-hostpath-volume-1 1Gi"},
	},
	{
		"localtime-by-name",
		`[{"name":"localtime","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"1Gi"}}]`,
		[]string{localtimeVolume}, []string{"localtime 1Gi"},
	},
}

const localtimeVolume = "localtime"

// playReplacements runs a Pod for each example in the cloud, and a Pod without one of its replacements on a local node.
func playReplacements(ctx context.Context, w *World) error {
	for _, example := range replacements {
		if err := w.applyHostPaths(ctx, example.name, example.annotation, example.hostPaths...); err != nil {
			return err
		}
	}
	err := w.applyHostPaths(ctx, "one-is-missing", replacements[1].annotation,
		"source-hostpath-volume-1", "source-hostpath-volume-2")
	if err != nil {
		return err
	}
	for _, example := range replacements {
		if err := w.awaitRunning(ctx, example.name, 0, 1); err != nil {
			return err
		}
		if err := w.checkVolumes(ctx, example.name, example.want); err != nil {
			return err
		}
	}
	// Even enforce does not send a Pod to the cloud if it cannot run there.
	return w.awaitRunning(ctx, "one-is-missing", 1, 0)
}

func (w *World) applyHostPaths(ctx context.Context, name, annotation string, volumes ...string) error {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "container-1", Image: "nginx"}}}}
	pod.APIVersion, pod.Kind, pod.Name = "v1", "Pod", name
	pod.Labels = map[string]string{"app": name, policy.BurstLabel: string(policy.ModeEnforce)}
	pod.Annotations = map[string]string{policy.HostPathReplacementAnnotation: annotation}
	for _, volume := range volumes {
		path := mountPath(volume)
		hostPath := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: hostPath})
		container := &pod.Spec.Containers[0]
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path})
	}
	w.printf("  Pod %s with volumes %v and %s: %s", name, volumes, policy.HostPathReplacementAnnotation, annotation)
	return w.applyObject(ctx, pod)
}

// mountPath returns the path of a volume on the node, which is also its path in the container.
func mountPath(volume string) string {
	if volume == localtimeVolume {
		return policy.LocaltimePath
	}
	return "/var/log/" + volume
}

// checkVolumes checks that the cloud Pod has exactly the wanted volumes, and a mount of each.
func (w *World) checkVolumes(ctx context.Context, app string, want []string) error {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	clouds, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	cloudVolumes, cloudMounts := ownVolumes(clouds[pods[0].UID])
	var volumes, mounts, wantMounts []string
	for _, v := range cloudVolumes {
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
			return fmt.Errorf("the cloud pod of %s has volume %s: want an emptyDir with a sizeLimit", app, v.Name)
		}
		volumes = append(volumes, v.Name+" "+v.EmptyDir.SizeLimit.String())
		wantMounts = append(wantMounts, v.Name+" "+mountPath(v.Name))
	}
	for _, m := range cloudMounts {
		mounts = append(mounts, m.Name+" "+m.MountPath)
	}
	if !slices.Equal(want, volumes) || !slices.Equal(wantMounts, mounts) {
		return fmt.Errorf("the cloud pod of %s has volumes %q with mounts %q: want volumes %q and a mount of each",
			app, volumes, mounts, want)
	}
	w.printf("  the cloud Pod has %d volumes %v", len(volumes), volumes)
	return nil
}
