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

// CreatePod implements virtual-kubelet's PodLifecycleHandler. It never fails: for virtual-kubelet any error of it is the end of a Pod with
// restartPolicy Never (node/pod.go, handleProviderError). What becomes of the Pod is told by NotifyPods.
func (p *Provider) CreatePod(_ context.Context, pod *corev1.Pod) error {
	p.queue.Add(identity.KeyOf(pod))
	return nil
}

// UpdatePod implements PodLifecycleHandler as CreatePod does.
func (p *Provider) UpdatePod(_ context.Context, pod *corev1.Pod) error {
	p.queue.Add(identity.KeyOf(pod))
	return nil
}

// DeletePod implements PodLifecycleHandler. It returns before the cloud Pod is gone and may be called again.
func (p *Provider) DeletePod(_ context.Context, pod *corev1.Pod) error {
	p.queue.Add(identity.KeyOf(pod))
	return nil
}

// GetPod implements PodLifecycleHandler: the Pod if it has a cloud Pod. A namesake's cloud Pod does not count.
func (p *Provider) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := p.pods.Pods(namespace).Get(name)
	if err != nil || p.inventory.Get(identity.KeyOf(pod)) == nil {
		// virtual-kubelet finds this kind of error only on the outside.
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

// GetPods implements PodLifecycleHandler: the Pods behind all cloud Pods of this node. Those that the cluster does not have any more are
// names without a spec; virtual-kubelet calls DeletePod for them, which asks the cluster again before it ends anything.
func (p *Provider) GetPods(context.Context) ([]*corev1.Pod, error) {
	select {
	case <-p.inventory.Synced():
	default:
		return nil, fmt.Errorf("listing pods: the cloud's are not known yet")
	}
	var pods []*corev1.Pod
	for key := range p.inventory.All() {
		if pod := p.pod(key); pod != nil {
			pods = append(pods, pod.DeepCopy())
			continue
		}
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: key.UID}})
	}
	return pods, nil
}

// NotifyPods implements PodNotifier. It must be called once.
func (p *Provider) NotifyPods(_ context.Context, notify func(*corev1.Pod)) {
	p.notify = notify
	close(p.notified)
}

// pod is the Pod of a key as the cluster has it, nil where it has none or a namesake. It must not be changed.
func (p *Provider) pod(key identity.Key) *corev1.Pod {
	pod, err := p.pods.Pods(key.Namespace).Get(key.Name)
	if err != nil || pod.UID != key.UID { // A lister's only error is that it is not there.
		return nil
	}
	return pod
}

// podHandler hears what virtual-kubelet does not tell: changes of status, which a deletion waits for, and Pods that are gone.
func (p *Provider) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: p.podChanged,
		UpdateFunc: func(before, after any) {
			if old, ok := before.(*corev1.Pod); ok {
				p.podChanged(old) // A namesake may have taken its place.
			}
			p.podChanged(after)
			p.warnAboutImages(before, after)
			p.warnAboutDebugging(before, after)
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
		p.queue.Add(identity.KeyOf(pod))
	}
}

// warnAboutDebugging says that a container which kubectl debug adds will not come.
func (p *Provider) warnAboutDebugging(before, after any) {
	old, okOld := before.(*corev1.Pod)
	pod, ok := after.(*corev1.Pod)
	if !okOld || !ok || old.UID != pod.UID {
		return
	}
	for _, c := range pod.Spec.EphemeralContainers[min(len(old.Spec.EphemeralContainers), len(pod.Spec.EphemeralContainers)):] {
		p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventNoDebugging,
			"Container %s will not start: the cloud adds no containers to a running Pod; use kubectl exec", c.Name)
	}
}

// warnAboutImages says that an image changed in place stays as it is in the cloud: no workload controller does that, people do.
func (p *Provider) warnAboutImages(before, after any) {
	old, okOld := before.(*corev1.Pod)
	pod, ok := after.(*corev1.Pod)
	if !okOld || !ok || old.UID != pod.UID || len(old.Spec.Containers) != len(pod.Spec.Containers) {
		return
	}
	for i, c := range pod.Spec.Containers {
		if was := old.Spec.Containers[i].Image; was != c.Image {
			p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventImageKept,
				"Container %s goes on with image %s in the cloud: a new image needs a new Pod", c.Name, was)
		}
	}
}
