package provider

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/fairness"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Logs streams the log of a container of a Pod of this node until the log or ctx ends. The caller closes the stream.
// The error is of errdefs' NotFound kind if the node has no such Pod or container, of its InvalidInput kind if the
// container cannot run in the cloud, else it is the cloud's.
func (p *Provider) Logs(ctx context.Context, namespace, name string, options cci.LogOptions) (io.ReadCloser, error) {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil {
		return nil, errdefs.NotFoundf("pod %s/%s is not on this node", namespace, name)
	}
	if err := p.checkContainer(pod, options.Container); err != nil {
		return nil, err
	}
	ctx = fairness.WithNamespace(ctx, namespace)
	stream, err := p.cloud.PodLog(ctx, p.namespace, identity.CloudName(identity.KeyOf(pod)), options)
	if cci.IsNotFound(err) {
		return nil, errdefs.NotFoundf("pod %s/%s has no cloud pod", namespace, name)
	}
	if err != nil {
		return nil, fmt.Errorf("getting the log of pod %s/%s: %w", namespace, name, err)
	}
	return stream, nil
}

// checkContainer returns an error if a container never runs in the cloud: of errdefs' NotFound kind if the Pod has none
// of that name, of its InvalidInput kind if kubectl debug has added it. The sidecar for Services counts: API servers
// know nothing of it, but an administrator reaches it by the proxy of the Node.
func (p *Provider) checkContainer(pod *corev1.Pod, name string) error {
	isDebugger := slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool {
		return c.Name == name
	})
	switch {
	case isDebugger:
		return errdefs.InvalidInputf("container %s of pod %s/%s has not started: %s",
			name, pod.Namespace, pod.Name, translate.NoDebugging)
	case !hasContainer(pod, name) && p.sidecar(pod, name) == nil:
		return errdefs.NotFoundf("pod %s/%s has no container %q", pod.Namespace, pod.Name, name)
	}
	return nil
}

// sidecar returns the status of the sidecar for Services if it has the name, else nil.
func (p *Provider) sidecar(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	if name != policy.ServicesContainer {
		return nil
	}
	return translate.Sidecar(pod, p.inventory.Get(identity.KeyOf(pod)))
}

func hasContainer(pod *corev1.Pod, name string) bool {
	named := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(pod.Spec.InitContainers, named) || slices.ContainsFunc(pod.Spec.Containers, named)
}
