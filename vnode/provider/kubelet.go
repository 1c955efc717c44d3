package provider

import (
	"context"
	"fmt"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

var (
	_ vknode.PodLifecycleHandler = (*Provider)(nil)
	_ vknode.PodNotifier         = (*Provider)(nil)
)

// CreatePod implements virtual-kubelet's PodLifecycleHandler. It never fails: on any error virtual-kubelet ends a Pod
// with restartPolicy Never. The provider reports the status through NotifyPods. Source: virtual-kubelet, node/pod.go,
// handleProviderError.
func (p *Provider) CreatePod(_ context.Context, pod *corev1.Pod) error {
	p.loop.Add(identity.KeyOf(pod))
	return nil
}

// UpdatePod implements PodLifecycleHandler as CreatePod does.
func (p *Provider) UpdatePod(_ context.Context, pod *corev1.Pod) error {
	p.loop.Add(identity.KeyOf(pod))
	return nil
}

// DeletePod implements PodLifecycleHandler. It returns before the cloud Pod is gone and may be called again.
func (p *Provider) DeletePod(_ context.Context, pod *corev1.Pod) error {
	p.loop.Add(identity.KeyOf(pod))
	return nil
}

// GetPod implements PodLifecycleHandler: it returns the Pod if it has a cloud Pod. The cloud Pod of another Pod of
// that name does not count.
func (p *Provider) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil || p.inventory.Get(identity.KeyOf(pod)) == nil {
		// virtual-kubelet does not recognize this kind of error if it is wrapped.
		return nil, errdefs.NotFoundf("pod %s/%s has no cloud pod", namespace, name)
	}
	return pod.DeepCopy(), nil
}

// GetPodStatus implements PodLifecycleHandler.
func (p *Provider) GetPodStatus(ctx context.Context, namespace, name string) (*corev1.PodStatus, error) {
	pod, err := p.GetPod(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &pod.Status, nil
}

// GetPods implements PodLifecycleHandler: it returns the Pods of all cloud Pods of this node. Pods that the cluster
// no longer has are names without a spec; virtual-kubelet calls DeletePod for them, and the provider reads from the
// cluster again before it deletes anything.
func (p *Provider) GetPods(context.Context) ([]*corev1.Pod, error) {
	select {
	case <-p.inventory.Synced():
	default:
		return nil, fmt.Errorf("listing pods: the cloud pods are not known yet")
	}
	var pods []*corev1.Pod
	for key := range p.inventory.All() {
		if pod := p.pod(key); pod != nil {
			pods = append(pods, pod.DeepCopy())
			continue
		}
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: key.UID},
		})
	}
	return pods, nil
}

// NotifyPods implements PodNotifier. It must be called once.
func (p *Provider) NotifyPods(_ context.Context, notify func(*corev1.Pod)) {
	p.notify = notify
	close(p.notified)
}

// pod returns the Pod of a key, with what the provider has written of it, nil if the cluster has none or has another
// Pod of that name. It must not be changed.
func (p *Provider) pod(key identity.Key) *corev1.Pod {
	pod, err := p.pods.Pods(key.Namespace).Get(key.Name)
	if err != nil || pod.UID != key.UID { // A lister's only error is NotFound.
		pod = nil
	}
	return p.newest(key, pod)
}

// podHandler receives the changes that virtual-kubelet does not pass on: those of the status, which a deletion waits
// for, and Pods that are gone.
func (p *Provider) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: p.podChanged,
		UpdateFunc: func(before, after any) {
			if old, ok := before.(*corev1.Pod); ok {
				p.podChanged(old) // Another Pod of the same name may have replaced it.
			}
			p.podChanged(after)
			p.warnAboutUpdate(before, after)
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			p.podChanged(obj)
		},
	}
}

func (p *Provider) podChanged(obj any) {
	if pod, ok := obj.(*corev1.Pod); ok {
		p.loop.Add(identity.KeyOf(pod))
	}
}
