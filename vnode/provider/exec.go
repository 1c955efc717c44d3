package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-k8s/spillway/internal/fairness"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// CheckRunning returns why no command can run in a container, nil if one can: an error of errdefs' NotFound kind if
// the node has no such Pod or container, of its InvalidInput kind if the container does not run.
func (p *Provider) CheckRunning(namespace, name, container string) error {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	if err := p.checkContainer(pod, container); err != nil {
		return err
	}
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	if sidecar := p.sidecar(pod, container); sidecar != nil {
		statuses = append(statuses, *sidecar)
	}
	for _, status := range statuses {
		if status.Name == container && status.State.Running != nil {
			return nil
		}
	}
	return errdefs.InvalidInputf("container %q of pod %s/%s is not running", container, namespace, name)
}

// List returns the Pods of the node. They must not be changed.
func (p *Provider) List() []*corev1.Pod {
	pods, err := p.pods.List(labels.Everything())
	if err != nil {
		return nil // A lister returns only the error of its selector, and this selector has none.
	}
	return pods
}

// Address returns the Pod's address in the cloud. It comes from the cloud Pod, since other clients can write the
// status of a Pod.
func (p *Provider) Address(namespace, name string) (string, error) {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return "", errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	cloud := p.inventory.Get(identity.KeyOf(pod))
	if cloud != nil && cloud.Status.PodIP == "" && cloud.RefusedAddress != "" {
		return "", errdefs.InvalidInputf(
			"the address of pod %s/%s is not used: %s", namespace, name, cloud.RefusedAddress)
	}
	if cloud == nil || cloud.Status.PodIP == "" || translate.IsTerminal(cloud.Status.Phase) {
		return "", errdefs.InvalidInputf("pod %s/%s is not running, so it has no address", namespace, name)
	}
	return cloud.Status.PodIP, nil
}

// Exec runs a command in a container. See PodExec of cci.API.
func (p *Provider) Exec(
	ctx context.Context, namespace, name string, options cci.ExecOptions, streams cci.ExecStreams,
) error {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	ctx = fairness.WithNamespace(ctx, namespace)
	err = p.cloud.PodExec(ctx, p.namespace, identity.CloudName(identity.KeyOf(pod)), options, streams)
	if cci.IsNotFound(err) {
		return errdefs.NotFoundf("pod %s/%s has no cloud pod", namespace, name)
	}
	if err != nil {
		return fmt.Errorf("in pod %s/%s: %w", namespace, name, err)
	}
	return nil
}
