package provider

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// reconcile brings one Pod and its cloud Pod closer. It may be called at any time, any number of times; one Pod is never worked on twice
// at once. again is when to look next although nothing changes, 0 for never.
//
//	the Pod           its cloud Pod      what is done
//	gone              there              ended, after the cluster has confirmed that the Pod is gone
//	being deleted     there              ended with the Pod's grace; its status follows
//	being deleted     gone               the Pod's containers are reported as ended, then the Pod is taken out of the cluster
//	ended             running            ended: it would run, and be billed, for nobody
//	ended             ended              kept for its log
//	there             there              its status follows
//	there             ended by others    nothing until it is gone: how it ends is not how the Pod would have
//	there, had run    gone               asked for once more, then reported as failed
//	there, never ran  not there          made
func (p *Provider) reconcile(ctx context.Context, key identity.Key) (again time.Duration, err error) {
	pod, cloud := p.pod(key), p.inventory.Get(key)
	switch {
	case pod == nil:
		return p.collect(ctx, key, cloud)
	case pod.DeletionTimestamp != nil:
		return p.finish(ctx, pod, cloud)
	case translate.IsTerminal(pod.Status.Phase):
		return p.release(ctx, key, cloud)
	case cloud != nil && cloud.DeletionTimestamp != nil && translate.IsTerminal(cloud.Status.Phase):
		return p.config.Recheck, nil
	case cloud != nil:
		p.report(pod, translate.Status(pod, cloud, p.config.NodeIP, p.now()))
		return 0, nil
	case p.hadRun(pod):
		return p.recover(ctx, pod)
	}
	return p.create(ctx, pod)
}

// report tells the status of a Pod to virtual-kubelet, which writes it to the cluster, again and again until it is there.
func (p *Provider) report(pod *corev1.Pod, status corev1.PodStatus) {
	if equality.Semantic.DeepEqual(pod.Status, status) {
		return
	}
	// A copy of the Pod as it is, with another status: virtual-kubelet takes what it is given for the whole Pod.
	told := pod.DeepCopy()
	told.Status = status
	p.notify(told)
}

// hadRun tells whether the Pod has had a cloud Pod that came as far as having an address or a container: such a Pod is not made again.
func (p *Provider) hadRun(pod *corev1.Pod) bool {
	if pod.Status.PodIP != "" {
		return true
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range statuses {
			if s.ContainerID != "" || s.State.Running != nil || s.State.Terminated != nil {
				return true
			}
		}
	}
	last := p.remember(identity.KeyOf(pod)).last
	return last != nil && last.Status.PodIP != ""
}

// recover asks the cloud for a Pod that the inventory does not have, and reports it as failed if it is not there.
func (p *Provider) recover(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	cloud, err := p.look(ctx, key)
	if err != nil {
		return 0, err
	}
	if cloud != nil {
		p.report(pod, translate.Status(pod, cloud, p.config.NodeIP, p.now()))
		return 0, nil
	}
	message := "the cloud Pod vanished without having been asked to"
	if p.noteLost(key) {
		p.metrics.lost.Inc()
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, ReasonLost, message)
	}
	p.report(pod, translate.FailedStatus(pod, p.remember(key).last, ReasonLost, message, p.config.NodeIP, p.now()))
	return 0, nil
}

// look asks the cloud itself for the cloud Pod of a Pod. nil is the proof that there is none.
func (p *Provider) look(ctx context.Context, key identity.Key) (*cci.Pod, error) {
	name := identity.CloudName(key)
	cloud, err := p.cloud.GetPod(ctx, p.namespace, name)
	if cci.IsNotFound(err) {
		if known := p.inventory.Get(key); known != nil {
			p.noteGone(key, known)
		} else {
			p.noteAbsent(key)
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if found, ok := p.owner.Owns(cloud); !ok || found != key {
		return nil, fmt.Errorf("cloud pod %s is not the one of %s: its annotations say another", name, key)
	}
	p.inventory.Put(cloud)
	return cloud, nil
}
