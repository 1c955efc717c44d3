package podlife

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	// defaultSnapshotTimeout is when the service gives up. Source: the schema's text of BuildingConfig.
	defaultSnapshotTimeout = 24 * time.Hour
	// snapshotPolls is how often a snapshot is reconciled while it is made, within SnapshotDelay.
	snapshotPolls = 4
)

// Annotations of Pods that start them from a snapshot. Source: CCI manual, "Using an Image Snapshot".
const (
	annotationSnapshotMatch = "cci.io/image-snapshot-auto-match"
	annotationSnapshotName  = "cci.io/image-snapshot-specified-name"
)

// reconcileSnapshot makes a snapshot Available when its Pod has run for long enough, and removes it at the end of its
// time.
func (c *Controller) reconcileSnapshot(tx store.Tx, snapshot *objects.ImageSnapshot) result {
	maker := tx.Pod(snapshot.Spec.BuildingConfig.Namespace, snapshot.Maker())
	created := snapshot.CreationTimestamp.Time
	switch {
	case snapshot.DeletionTimestamp != nil:
		return c.reconcileSnapshotDeletion(tx, snapshot, maker)
	case snapshot.Status.Phase == objects.SnapshotAvailable && snapshot.Spec.TTLDaysAfterCreated > 0:
		end := created.Add(time.Duration(snapshot.Spec.TTLDaysAfterCreated) * 24 * time.Hour)
		return result{gone: !c.now().Before(end), at: end}
	case snapshot.Status.Phase != objects.SnapshotCreating:
		return result{}
	case maker == nil:
		return c.failSnapshot(tx, snapshot, maker, "the Pod that makes the snapshot is gone")
	case !c.now().Before(created.Add(snapshotTimeout(snapshot))):
		return c.failSnapshot(tx, snapshot, maker, "the images were not pulled in time")
	case maker.Status.PodIP == "" || c.now().Before(created.Add(c.cfg.SnapshotDelay)),
		c.lacksImages(tx, snapshot, maker):
		return result{at: c.now().Add(c.snapshotPoll())}
	}
	next := snapshot.CopyObject().(*objects.ImageSnapshot)
	now := metav1.NewTime(c.now())
	next.Status = objects.ImageSnapshotStatus{
		Phase: objects.SnapshotAvailable, LastUpdatedTime: &now, SnapshotID: string(snapshot.UID),
		SnapshotName: "snapshot-" + snapshot.Name,
	}
	for _, image := range snapshot.Spec.Images {
		next.Status.Images = append(next.Status.Images, objects.PulledImage{
			Image: image.Image, Digest: "sha256:" + strings.Repeat("0", 64), SizeBytes: 64 << 20,
		})
	}
	c.endMaker(tx, maker)
	return result{next: next, at: now.Time} // Its time may have an end.
}

func (c *Controller) snapshotPoll() time.Duration {
	return max(c.cfg.SnapshotDelay/snapshotPolls, time.Millisecond)
}

func snapshotTimeout(snapshot *objects.ImageSnapshot) time.Duration {
	if m := snapshot.Spec.BuildingConfig.TimeoutMinutes; m > 0 {
		return time.Duration(m) * time.Minute
	}
	return defaultSnapshotTimeout
}

// lacksImages reports whether an image of the snapshot cannot be pulled.
func (c *Controller) lacksImages(tx store.Tx, snapshot *objects.ImageSnapshot, maker *objects.Pod) bool {
	for _, image := range snapshot.Spec.Images {
		if missingImage(image.Image) {
			return true
		}
	}
	return c.hasFault(tx, faults.ImagePull, objects.Pods, maker)
}

func (c *Controller) failSnapshot(
	tx store.Tx, snapshot *objects.ImageSnapshot, maker *objects.Pod, message string,
) result {
	c.endMaker(tx, maker)
	next := snapshot.CopyObject().(*objects.ImageSnapshot)
	next.Status.Phase, next.Status.Reason, next.Status.Message = objects.SnapshotFailed, "BuildFailed", message
	return result{next: next}
}

// endMaker deletes the Pod that makes a snapshot, if there is one.
func (c *Controller) endMaker(tx store.Tx, maker *objects.Pod) {
	if maker == nil || maker.DeletionTimestamp != nil {
		return
	}
	if _, err := c.Delete(tx, objects.Pods, maker, &metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		c.cfg.Logger.Error("Deleting the maker of a snapshot failed", "name", maker.Name, "error", err)
	}
}

// reconcileSnapshotDeletion removes a deleted snapshot when the Pod that makes it is gone.
func (c *Controller) reconcileSnapshotDeletion(
	tx store.Tx, snapshot *objects.ImageSnapshot, maker *objects.Pod,
) result {
	c.endMaker(tx, maker)
	if maker != nil || c.now().Before(snapshot.DeletionTimestamp.Add(c.cfg.FinalizerDelay)) {
		return result{at: c.now().Add(max(c.cfg.FinalizerDelay, time.Millisecond))}
	}
	next := snapshot.CopyObject()
	next.SetFinalizers(nil)
	return result{next: next, gone: true}
}

// startDelay returns the time between the scheduling of the Pod and the start of its first container. A Pod whose
// images are all in a snapshot pulls none. Whether the service is as fast as that is not known.
func (r *podReconciler) startDelay() time.Duration {
	match, name := r.pod.Annotations[annotationSnapshotMatch], r.pod.Annotations[annotationSnapshotName]
	if match != "true" && name == "" {
		return r.c.cfg.StartDelay
	}
	for obj := range r.tx.All(objects.Snapshots) {
		snapshot := obj.(*objects.ImageSnapshot)
		if snapshot.Status.Phase == objects.SnapshotAvailable && snapshot.DeletionTimestamp == nil &&
			(match == "true" || name == snapshot.Name) && snapshot.Has(r.pod) {
			return 0
		}
	}
	return r.c.cfg.StartDelay
}
