package provider

import (
	"context"
	"fmt"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// CheckRunning says why no command can run in a container, nil if one can: errdefs' NotFound where the node has no such Pod or container,
// InvalidInput where it does not run.
func (p *Provider) CheckRunning(namespace, name, container string) error {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	if !hasContainer(pod, container) {
		return errdefs.NotFoundf("pod %s/%s has no container %q", namespace, name, container)
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, status := range statuses {
			if status.Name == container && status.State.Running != nil {
				return nil
			}
		}
	}
	return errdefs.InvalidInputf("container %q of pod %s/%s does not run", container, namespace, name)
}

// Address is the Pod's own, in the cloud: as the cloud has it, since others can write the status of a Pod.
func (p *Provider) Address(namespace, name string) (string, error) {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return "", errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	cloud := p.inventory.Get(identity.KeyOf(pod))
	if cloud == nil || cloud.Status.PodIP == "" || translate.IsTerminal(cloud.Status.Phase) {
		return "", errdefs.InvalidInputf("pod %s/%s does not run, so it has no address", namespace, name)
	}
	return cloud.Status.PodIP, nil
}

// Exec runs a command in a container, as cci.API's PodExec does.
func (p *Provider) Exec(ctx context.Context, namespace, name string, options cci.ExecOptions, streams cci.ExecStreams) error {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	err = p.cloud.PodExec(ctx, p.namespace, identity.CloudName(identity.KeyOf(pod)), options, streams)
	if cci.IsNotFound(err) {
		return errdefs.NotFoundf("pod %s/%s has no cloud pod", namespace, name)
	}
	if err != nil {
		return fmt.Errorf("in pod %s/%s: %w", namespace, name, err)
	}
	return nil
}
