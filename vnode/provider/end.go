package provider

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// confirmDelay is how long to wait for the own copy of the cluster's Pods to catch up with the cluster.
const confirmDelay = time.Second

// collect ends a cloud Pod whose Pod the cluster does not have any more.
func (p *Provider) collect(ctx context.Context, key identity.Key, cloud *cci.Pod) (time.Duration, error) {
	if cloud == nil {
		p.forget(key)
		return 0, nil
	}
	if cloud.DeletionTimestamp == nil && p.remember(key).asked.uid != cloud.UID {
		there, err := p.isThere(ctx, key)
		if err != nil {
			return 0, err
		}
		if there {
			return confirmDelay, nil
		}
		p.config.Logger.Info("ending a cloud pod whose pod is gone", "pod", key.Namespace+"/"+key.Name, "uid", key.UID, "cloud", cloud.Name)
		p.metrics.collected.Inc()
	}
	_, err := p.end(ctx, key, cloud, nil)
	return p.config.Recheck, err
}

// isThere asks the cluster itself: its watch may be late, and a running Pod would be ended.
func (p *Provider) isThere(ctx context.Context, key identity.Key) (bool, error) {
	pod, err := p.config.Client.Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for pod %s/%s before ending its cloud pod: %w", key.Namespace, key.Name, err)
	}
	return pod.UID == key.UID, nil
}

// release ends the cloud Pod of a Pod that has ended for the cluster: an eviction, say. One that has ended itself is kept for its log.
func (p *Provider) release(ctx context.Context, key identity.Key, cloud *cci.Pod) (time.Duration, error) {
	if cloud == nil || translate.IsTerminal(cloud.Status.Phase) {
		return 0, nil
	}
	_, err := p.end(ctx, key, cloud, nil)
	return p.config.Recheck, err
}

// finish brings a Pod that is being deleted to its end: first the cloud Pod, then the Pod.
func (p *Provider) finish(ctx context.Context, pod *corev1.Pod, cloud *cci.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	if cloud == nil && !p.remember(key).gone {
		found, err := p.look(ctx, key)
		if err != nil {
			return 0, err
		}
		cloud = found
	}
	if cloud == nil {
		return p.complete(ctx, pod)
	}
	gone, err := p.end(ctx, key, cloud, pod.DeletionGracePeriodSeconds)
	if err != nil {
		return 0, err
	}
	if gone {
		return p.complete(ctx, pod)
	}
	p.report(pod, translate.Status(pod, cloud, p.config.NodeIP, p.now()))
	return p.config.Recheck, nil
}

// end asks the cloud to end a Pod, unless it has been asked for that already. gone tells that there is nothing left to end. nil grace is the
// cloud Pod's own.
func (p *Provider) end(ctx context.Context, key identity.Key, cloud *cci.Pod, grace *int64) (gone bool, err error) {
	if isEnding(cloud, grace) {
		return p.isOverdue(ctx, key, cloud)
	}
	request := ending{uid: cloud.UID, grace: grace, at: p.config.Now()}
	if p.remember(key).asked.covers(request, p.config.Recheck) {
		return false, nil // The watch has not brought it yet.
	}
	err = p.cloud.DeletePod(ctx, p.namespace, cloud.Name, cci.DeleteOptions{UID: cloud.UID, GraceSeconds: grace})
	switch {
	case err == nil:
		p.noteAsked(key, request)
	case cci.IsNotFound(err):
		p.noteGone(key, cloud)
		return true, nil
	case cci.IsConflict(err): // Another one has the name, or something else is meant.
		found, err := p.look(ctx, key)
		return err == nil && found == nil, err
	}
	return false, err
}

// ending is a request to the cloud to end a Pod.
type ending struct {
	uid   types.UID
	grace *int64
	at    time.Time
}

// covers tells whether the request was made a moment ago already, with no longer a grace.
func (e ending) covers(request ending, moment time.Duration) bool {
	if e.uid != request.uid || request.at.Sub(e.at) >= moment {
		return false
	}
	return request.grace == nil || (e.grace != nil && *e.grace <= *request.grace)
}

// isEnding tells whether the cloud Pod ends within the grace already.
func isEnding(cloud *cci.Pod, grace *int64) bool {
	if cloud.DeletionTimestamp == nil {
		return false
	}
	return grace == nil || cloud.DeletionGracePeriodSeconds == nil || *cloud.DeletionGracePeriodSeconds <= *grace
}

// isOverdue asks the cloud for a Pod that should be gone by now: the watch may have lost its end.
func (p *Provider) isOverdue(ctx context.Context, key identity.Key, cloud *cci.Pod) (gone bool, err error) {
	if p.config.Now().Before(cloud.DeletionTimestamp.Add(p.config.Recheck)) {
		return false, nil
	}
	found, err := p.look(ctx, key)
	return err == nil && found == nil, err
}

// complete takes a Pod out of the cluster whose cloud Pod is gone. First its containers are reported as ended: Jobs count them. After a
// terminal phase virtual-kubelet writes no status any more.
func (p *Provider) complete(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	if !translate.IsTerminal(pod.Status.Phase) {
		p.report(pod, translate.DeletedStatus(pod, p.remember(identity.KeyOf(pod)).last, p.config.NodeIP, p.now()))
		return p.config.Recheck, nil // The change of the status brings us back sooner.
	}
	if grace := pod.DeletionGracePeriodSeconds; grace != nil && *grace == 0 && len(pod.Finalizers) > 0 {
		return 0, nil // It has been asked for, and goes with the last finalizer.
	}
	// The API server deletes in two steps: it notes a grace of 0, then it removes. Where this program, or the API server, was killed between
	// them, only another request removes the Pod (apiserver, registry/rest, BeforeDelete).
	options := metav1.NewDeleteOptions(0)
	options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	err := p.config.Client.Pods(pod.Namespace).Delete(ctx, pod.Name, *options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("taking pod %s/%s out of the cluster: %w", pod.Namespace, pod.Name, err)
	}
	return p.config.Recheck, nil
}
