package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// A claim's copy is two objects of one name: a volume that says where the data are, and a claim for it. Neither is ever changed. The volume
// keeps the data whatever happens to it (reclaim policy Retain): they are the cluster's.

// lookClaim makes the copy of a claim that is bound to a volume which the cloud can mount.
func (m *Mirrors) lookClaim(ctx context.Context, e *entry) error {
	began := m.config.Now()
	claim, err := m.config.Sources.PersistentVolumeClaims(e.mirror.Namespace).Get(ctx, e.mirror.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		e.found, e.checked = false, began
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.mirror, err)
	}
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return &Missing{fmt.Sprintf("persistentvolumeclaim %q is not bound", claim.Name)}
	}
	volume, err := m.config.Sources.PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the volume of %s: %w", e.mirror, err)
	}
	if err := m.checkVolume(claim, volume); err != nil {
		return err
	}
	if err := m.writeClaim(ctx, e, claim, volume); err != nil {
		return err
	}
	e.found, e.checked = true, began
	return nil
}

// checkVolume refuses what the cloud cannot mount.
func (m *Mirrors) checkVolume(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	kind := policy.VolumeKind(volume)
	csi := volume.Spec.CSI
	switch {
	case !slices.Contains(m.config.VolumeKinds, kind) || csi == nil:
		return &Unfit{fmt.Sprintf("claim %s is a volume of kind %s: the cloud can mount %s", claim.Name, kind, strings.Join(m.config.VolumeKinds, ", "))}
	case csi.NodePublishSecretRef != nil || csi.NodeStageSecretRef != nil:
		return &Unfit{fmt.Sprintf("claim %s is a volume that is mounted with a Secret, which the cloud does not know", claim.Name)}
	}
	return nil
}

// writeClaim makes what is missing of the copy.
func (m *Mirrors) writeClaim(ctx context.Context, e *entry, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	want := m.volumeCopy(e.mirror, claim.UID, volume)
	if e.copy != nil {
		if e.copy.digest == volumeDigest(want) {
			return nil
		}
		// The claim was made anew, for other data. What runs goes on with the old ones.
		if m.config.Inventory.Refers(cci.Object{Kind: cci.ClaimObject, Name: want.Name}) {
			return &Missing{fmt.Sprintf("persistentvolumeclaim %q is another than that of a Pod which still runs in the cloud", claim.Name)}
		}
		if err := m.removeClaim(ctx, e); err != nil {
			return err
		}
	}
	if err := m.createVolume(ctx, e.mirror, want); err != nil {
		return err
	}
	e.leftover = true
	made, err := m.config.API.CreateClaim(ctx, m.config.Namespace, claimCopy(want))
	if cci.IsTaken(err) {
		made, err = m.config.API.GetClaim(ctx, m.config.Namespace, want.Name)
	}
	if err != nil {
		return err
	}
	if made.DeletionTimestamp != nil {
		return fmt.Errorf("cloud claim %s is being deleted: it is made again when it is gone", made.Name)
	}
	e.takeClaim(made, volumeDigest(want))
	e.written = m.config.Now()
	m.observe(e.mirror, created)
	return nil
}

// volumeCopy is the volume as the cloud is to have it.
func (m *Mirrors) volumeCopy(mirror identity.Mirror, claim types.UID, volume *corev1.PersistentVolume) *cci.PersistentVolume {
	csi := volume.Spec.CSI
	meta := m.config.Owner.MirrorMeta(mirror, claim)
	meta.Annotations[policy.CloudSourceVolumeAnnotation] = csi.VolumeHandle
	return &cci.PersistentVolume{ObjectMeta: meta, Spec: cci.PersistentVolumeSpec{
		AccessModes: volume.Spec.AccessModes, Capacity: volume.Spec.Capacity, MountOptions: volume.Spec.MountOptions,
		CSI: &cci.CSIVolume{
			Driver: csi.Driver, VolumeHandle: csi.VolumeHandle, FSType: csi.FSType, ReadOnly: csi.ReadOnly, VolumeAttributes: csi.VolumeAttributes,
		},
		ClaimRef:      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: m.config.Namespace, Name: meta.Name},
		ReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}}
}

// claimCopy is the claim for a volume.
func claimCopy(volume *cci.PersistentVolume) *cci.PersistentVolumeClaim {
	size := corev1.ResourceList{corev1.ResourceStorage: volume.Spec.Capacity[corev1.ResourceStorage]}
	return &cci.PersistentVolumeClaim{ObjectMeta: *volume.ObjectMeta.DeepCopy(), Spec: cci.PersistentVolumeClaimSpec{
		AccessModes: volume.Spec.AccessModes, Resources: cci.Resources{Requests: size}, VolumeName: volume.Name,
	}}
}

// volumeDigest tells data apart.
func volumeDigest(volume *cci.PersistentVolume) [sha256.Size]byte {
	return handleDigest(volume.Annotations[policy.CloudSourceVolumeAnnotation])
}

func handleDigest(handle string) [sha256.Size]byte { return sha256.Sum256([]byte(handle)) }

// createVolume makes the volume, or takes the one that is there. One that had another claim, or other data, is of no use.
func (m *Mirrors) createVolume(ctx context.Context, mirror identity.Mirror, want *cci.PersistentVolume) error {
	_, err := m.config.API.CreateVolume(ctx, want)
	if !cci.IsTaken(err) {
		return err
	}
	found, err := m.config.API.GetVolume(ctx, want.Name)
	if err != nil {
		return err
	}
	if is, ok := m.config.Owner.OwnsMirror(&found.ObjectMeta); !ok || is != mirror {
		return fmt.Errorf("cloud volume %s is not a copy for %s: its annotations say another", want.Name, mirror)
	}
	if found.Status.Phase != corev1.VolumeReleased && volumeDigest(found) == volumeDigest(want) {
		return nil
	}
	if err := m.config.API.DeleteVolume(ctx, want.Name, cci.DeleteOptions{UID: found.UID}); err != nil && !cci.IsNotFound(err) {
		return err
	}
	_, err = m.config.API.CreateVolume(ctx, want)
	return err
}

// refreshClaim has a copy made again that others have removed. A claim that waits in the cluster leaves its copy as it is.
func (m *Mirrors) refreshClaim(ctx context.Context, e *entry) error {
	err := m.lookClaim(ctx, e)
	_, missing := errors.AsType[*Missing](err)
	_, unfit := errors.AsType[*Unfit](err)
	if missing || unfit {
		return nil
	}
	return err
}

// removeClaim takes the claim and then the volume out of the cloud. The data stay.
func (m *Mirrors) removeClaim(ctx context.Context, e *entry) error {
	name := m.config.Owner.MirrorName(e.mirror)
	if e.copy != nil {
		err := m.config.API.DeleteClaim(ctx, m.config.Namespace, name, cci.DeleteOptions{UID: e.copy.meta.UID})
		if err != nil && !cci.IsNotFound(err) {
			return err
		}
		e.takeClaim(nil, [sha256.Size]byte{})
		e.leftover, e.written = true, m.config.Now()
	}
	volume, err := m.config.API.GetVolume(ctx, name)
	if err == nil {
		if is, ok := m.config.Owner.OwnsMirror(&volume.ObjectMeta); !ok || is != e.mirror {
			return fmt.Errorf("cloud volume %s is not a copy for %s: its annotations say another", name, e.mirror)
		}
		err = m.config.API.DeleteVolume(ctx, name, cci.DeleteOptions{UID: volume.UID})
	}
	if err != nil && !cci.IsNotFound(err) {
		return err
	}
	e.leftover, e.written = false, m.config.Now()
	m.observe(e.mirror, deleted)
	return nil
}

// takeClaim notes a claim as the cloud has it, nil for none.
func (e *entry) takeClaim(claim *cci.PersistentVolumeClaim, data [sha256.Size]byte) {
	e.exists.Store(claim != nil)
	e.copy = nil
	if claim != nil {
		e.copy = &copied{meta: claim.ObjectMeta, digest: data}
		e.copy.meta.ManagedFields = nil
		e.leftover = false
	}
}

// listClaims takes what the cloud has of claims and volumes, and adds to listed which copies there are. ok is false where the region has
// none: then nothing is known.
func (m *Mirrors) listClaims(ctx context.Context, began time.Time, listed map[identity.Mirror]bool) (ok bool, err error) {
	if !m.config.Claims {
		return false, nil
	}
	options := cci.ListOptions{LabelSelector: m.config.Owner.Selector(), Limit: pageSize}
	claims, err := m.config.API.ListClaims(ctx, m.config.Namespace, options)
	if err == nil {
		var volumes []cci.PersistentVolume
		if volumes, err = m.config.API.ListVolumes(ctx, options); err == nil {
			m.adoptClaims(claims, volumes, began, listed)
			return true, nil
		}
	}
	if fault, is := errors.AsType[*cci.Error](err); is && fault.Status == http.StatusNotFound {
		m.config.Logger.Warn("this region's CCI has no volumes: pods with claims cannot run in it", "err", err)
		return false, nil
	}
	return false, err
}

func (m *Mirrors) adoptClaims(claims []cci.PersistentVolumeClaim, volumes []cci.PersistentVolume, began time.Time, listed map[identity.Mirror]bool) {
	for i := range claims {
		mirror, ok := m.config.Owner.OwnsMirror(&claims[i].ObjectMeta)
		if !ok || mirror.Kind != identity.MirrorClaim || claims[i].DeletionTimestamp != nil {
			continue
		}
		listed[mirror] = true
		m.adoptClaim(mirror, began, func(e *entry) {
			e.takeClaim(&claims[i], handleDigest(claims[i].Annotations[policy.CloudSourceVolumeAnnotation]))
		})
	}
	for i := range volumes {
		mirror, ok := m.config.Owner.OwnsMirror(&volumes[i].ObjectMeta)
		if ok && mirror.Kind == identity.MirrorClaim && !listed[mirror] {
			listed[mirror] = true
			m.adoptClaim(mirror, began, func(e *entry) {
				e.takeClaim(nil, [sha256.Size]byte{})
				e.leftover = true
			})
		}
	}
}

func (m *Mirrors) adoptClaim(mirror identity.Mirror, began time.Time, take func(*entry)) {
	e := m.lock(mirror)
	defer e.mu.Unlock()
	if e.written.Before(began) {
		take(e)
	}
}
