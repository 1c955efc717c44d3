package provider

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/usage"
)

// UsageTargets returns the running Pods of the node that have an exporter. It does not block.
func (p *Provider) UsageTargets() []usage.Target {
	var targets []usage.Target
	for key, cloud := range p.inventory.All() {
		port := exporterPort(cloud)
		pod := p.pod(key)
		if port == 0 || cloud.Status.PodIP == "" || cloud.Status.Phase != corev1.PodRunning || pod == nil {
			continue
		}
		target := usage.Target{
			Namespace: key.Namespace, Name: key.Name, UID: string(key.UID), Containers: map[string]time.Time{},
			Images:  map[string]string{},
			Address: net.JoinHostPort(cloud.Status.PodIP, strconv.Itoa(port)),
		}
		if cloud.Status.StartTime != nil {
			target.Started = cloud.Status.StartTime.Time
		}
		for _, status := range slices.Concat(cloud.Status.InitContainerStatuses, cloud.Status.ContainerStatuses) {
			if status.State.Running != nil && hasContainer(pod, status.Name) {
				target.Containers[status.Name] = status.State.Running.StartedAt.Time
				target.Images[status.Name] = imageOf(pod, status.Name)
			}
		}
		if len(target.Containers) > 0 {
			targets = append(targets, target)
		}
	}
	return targets
}

// imageOf returns the image of a container as the Pod names it: the one in the cloud may have another prefix.
func imageOf(pod *corev1.Pod, container string) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// exporterPort returns the port of a cloud Pod's exporter, 0 if the cloud Pod has none.
func exporterPort(cloud *cci.Pod) int {
	if strings.EqualFold(cloud.Annotations[cci.ExporterAnnotation], "false") {
		return 0
	}
	text, chosen := cloud.Annotations[cci.ExporterPortAnnotation]
	if !chosen {
		return cci.ExporterPort
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}
