package provider

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// confirmDelay is the time for the watch of the cluster's Pods to catch up with the cluster.
const confirmDelay = time.Second

// collect deletes a cloud Pod whose Pod the cluster no longer has.
func (p *Provider) collect(ctx context.Context, key identity.Key, cloud *cci.Pod) (time.Duration, error) {
	if cloud == nil {
		p.forget(key)
		return 0, nil
	}
	sent, grace := p.state(key).deletion, new(cci.EndedGraceSeconds)
	if !isTerminating(cloud, grace) && (sent.uid != cloud.UID || sent.grace == nil || *sent.grace > *grace) {
		exists, err := p.existsInCluster(ctx, key)
		if err != nil {
			return 0, err
		}
		if exists {
			return confirmDelay, nil
		}
		p.config.Logger.Info("deleting a cloud pod whose pod is gone",
			logging.Pod(key.Namespace, key.Name, key.UID), "cloud", cloud.Name)
		p.metrics.collected.Inc()
	}
	_, err := p.deleteCloudPod(ctx, key, cloud, grace)
	return p.config.Recheck, err
}

// existsInCluster reads the Pod from the API server: the watch may be late, and then a running Pod would be deleted. It
// lists: the API server refuses a node that reads a Pod which is gone, because it is not on the node any more.
func (p *Provider) existsInCluster(ctx context.Context, key identity.Key) (bool, error) {
	this := fields.Set{"metadata.name": key.Name, "spec.nodeName": p.config.Owner.Node}
	list, err := p.config.Client.Pods(key.Namespace).List(ctx, metav1.ListOptions{FieldSelector: this.String()})
	if err != nil {
		return false, fmt.Errorf("reading pod %s/%s before deleting its cloud pod: %w", key.Namespace, key.Name, err)
	}
	return slices.ContainsFunc(list.Items, func(pod corev1.Pod) bool { return pod.UID == key.UID }), nil
}

// release deletes the cloud Pod of a Pod that has ended for the cluster, by an eviction for example. A cloud Pod that
// has ended itself is kept for its log.
func (p *Provider) release(ctx context.Context, key identity.Key, cloud *cci.Pod) (time.Duration, error) {
	if cloud == nil || translate.IsTerminal(cloud.Status.Phase) {
		return 0, nil
	}
	_, err := p.deleteCloudPod(ctx, key, cloud, new(cci.EndedGraceSeconds))
	return p.config.Recheck, err
}

// terminate handles a Pod that is being deleted: it removes first the cloud Pod, then the Pod.
func (p *Provider) terminate(ctx context.Context, pod *corev1.Pod, cloud *cci.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	left, err := p.endInCloud(ctx, key, cloud, pod.DeletionGracePeriodSeconds)
	if err != nil {
		return 0, err
	}
	if left == nil {
		return p.removeFromCluster(ctx, pod)
	}
	p.report(pod, translate.Status(pod, left, p.config.NodeIP, p.now()))
	return p.config.Recheck, nil
}

// endInCloud requests the deletion of the cloud Pod of a Pod. It returns the cloud Pod, or nil as the proof that there
// is none any more. A nil grace is the cloud Pod's own grace period.
func (p *Provider) endInCloud(
	ctx context.Context, key identity.Key, cloud *cci.Pod, grace *int64,
) (left *cci.Pod, err error) {
	if cloud == nil && !p.state(key).gone {
		if cloud, err = p.readCloudPod(ctx, key); err != nil {
			return nil, err
		}
	}
	if cloud == nil {
		return nil, nil
	}
	gone, err := p.deleteCloudPod(ctx, key, cloud, grace)
	if err != nil || gone {
		return nil, err
	}
	return cloud, nil
}

// deleteCloudPod requests the deletion of a cloud Pod, unless it has done so already or the cloud Pod ends sooner. gone
// reports that there is no cloud Pod any more. A nil grace is the cloud Pod's own grace period.
func (p *Provider) deleteCloudPod(
	ctx context.Context, key identity.Key, cloud *cci.Pod, grace *int64,
) (gone bool, err error) {
	if isTerminating(cloud, grace) {
		return p.isOverdue(ctx, key, cloud)
	}
	request := deletion{uid: cloud.UID, grace: grace, at: p.config.Now()}
	if p.state(key).deletion.covers(request, p.config.Recheck) {
		return false, nil // The watch has not delivered its effect yet.
	}
	err = p.cloud.DeletePod(ctx, p.namespace, cloud.Name, cci.DeleteOptions{UID: cloud.UID, GraceSeconds: grace})
	switch {
	case err == nil:
		p.update(key, func(s *podState) { s.deletion = request })
	case cci.IsNotFound(err):
		p.recordGone(key, cloud)
		return true, nil
	case cci.IsConflict(err): // Another cloud Pod has the name, or the service means something else by it.
		found, err := p.readCloudPod(ctx, key)
		return err == nil && found == nil, err
	}
	return false, err
}

// deletion is a request to the cloud to delete a Pod.
type deletion struct {
	uid   types.UID
	grace *int64
	at    time.Time
}

// covers reports whether this deletion makes a new request redundant: it is not older than recent, and its grace
// period is not longer.
func (d deletion) covers(request deletion, recent time.Duration) bool {
	if d.uid != request.uid || request.at.Sub(d.at) >= recent {
		return false
	}
	return request.grace == nil || (d.grace != nil && *d.grace <= *request.grace)
}

// isTerminating reports whether the cloud Pod is already being deleted within the grace period.
func isTerminating(cloud *cci.Pod, grace *int64) bool {
	if cloud.DeletionTimestamp == nil {
		return false
	}
	return grace == nil || cloud.DeletionGracePeriodSeconds == nil || *cloud.DeletionGracePeriodSeconds <= *grace
}

// isOverdue reads a cloud Pod that should be gone by now: the watch may have lost its deletion.
func (p *Provider) isOverdue(ctx context.Context, key identity.Key, cloud *cci.Pod) (gone bool, err error) {
	if p.config.Now().Before(cloud.DeletionTimestamp.Add(p.config.Recheck)) {
		return false, nil
	}
	found, err := p.readCloudPod(ctx, key)
	return err == nil && found == nil, err
}

// removeFromCluster removes a Pod whose cloud Pod is gone. First it reports the containers as ended: Jobs count them.
// After a terminal phase virtual-kubelet no longer writes a status.
func (p *Provider) removeFromCluster(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	if !translate.IsTerminal(pod.Status.Phase) {
		p.report(pod, translate.DeletedStatus(pod, p.state(identity.KeyOf(pod)).last, p.config.NodeIP, p.now()))
		return p.config.Recheck, nil // The change of the status queues the Pod sooner.
	}
	if grace := pod.DeletionGracePeriodSeconds; grace != nil && *grace == 0 && len(pod.Finalizers) > 0 {
		return 0, nil // The deletion is requested. The Pod is removed with the last finalizer.
	}
	// The API server deletes in two steps: it records a grace period of 0, then it removes the Pod. If this program or
	// the API server was killed between them, only another request removes the Pod. Source: Kubernetes v1.36,
	// staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go, BeforeDelete.
	options := metav1.NewDeleteOptions(0)
	options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	err := p.config.Client.Pods(pod.Namespace).Delete(ctx, pod.Name, *options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("removing pod %s/%s from the cluster: %w", pod.Namespace, pod.Name, err)
	}
	return p.config.Recheck, nil
}
