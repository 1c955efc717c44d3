package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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

// The copy of a claim is two objects of one name: a volume that says where the data are, and a claim for the volume.
// Neither is ever changed. The reclaim policy of the volume is Retain: the data belong to the cluster and outlive the
// copy.

// syncClaim creates the copy of a claim that is bound to a volume which the cloud can mount.
func (m *Mirrors) syncClaim(ctx context.Context, e *entry) error {
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
	if !isBound(claim, volume) {
		return &Missing{fmt.Sprintf("persistentvolumeclaim %q is not bound: volume %q is not bound to this claim",
			claim.Name, volume.Name)}
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

// isBound reports whether the volume of a claim is bound to this claim, not to an earlier one of the same name: the
// API server gives each another UID. A claim says itself which volume it has. Source: Kubernetes v1.36,
// pkg/kubelet/volumemanager/populator, getPVSpec.
func isBound(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	to := volume.Spec.ClaimRef
	return volume.Status.Phase == corev1.VolumeBound && to != nil &&
		to.Namespace == claim.Namespace && to.Name == claim.Name && to.UID == claim.UID
}

// checkVolume returns an error for a volume that the cloud cannot mount.
func (m *Mirrors) checkVolume(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	kind := policy.VolumeKind(volume)
	csi := volume.Spec.CSI
	switch {
	case !slices.Contains(m.config.VolumeKinds, kind) || csi == nil:
		return &Unsupported{fmt.Sprintf("claim %s is bound to a volume of kind %s: the cloud can mount %s",
			claim.Name, kind, strings.Join(m.config.VolumeKinds, ", "))}
	case csi.NodePublishSecretRef != nil || csi.NodeStageSecretRef != nil:
		return &Unsupported{fmt.Sprintf(
			"claim %s is bound to a volume that is mounted with a Secret, which the cloud does not support", claim.Name)}
	}
	return nil
}

// writeClaim creates what is missing of the copy.
func (m *Mirrors) writeClaim(
	ctx context.Context, e *entry, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume,
) error {
	want := m.volumeCopy(e.mirror, claim.UID, volume)
	if e.copy != nil {
		if e.copy.digest == volumeDigest(want) {
			return nil
		}
		// The claim was created again, for other data. Running Pods keep the old data.
		if m.config.Inventory.Refers(cci.Object{Kind: cci.ClaimObject, Name: want.Name}) {
			return &Missing{fmt.Sprintf(
				"persistentvolumeclaim %q is not the claim that a Pod in the cloud still uses under this name", claim.Name)}
		}
		if err := m.removeClaim(ctx, e); err != nil {
			return err
		}
	}
	if err := m.createVolume(ctx, e.mirror, want); err != nil {
		return err
	}
	e.leftover = true
	cloudClaim, err := m.config.API.CreateClaim(ctx, m.config.Namespace, claimCopy(want))
	if cci.IsTaken(err) {
		return m.takeClaim(ctx, e, want)
	}
	if err != nil {
		return err
	}
	e.setClaim(cloudClaim, volumeDigest(want))
	e.written = m.config.Now()
	m.observe(e.mirror, created)
	return nil
}

// takeClaim takes over the claim that has the name in the cloud, if it is a copy for the same claim and volume.
func (m *Mirrors) takeClaim(ctx context.Context, e *entry, want *cci.PersistentVolume) error {
	found, err := m.config.API.GetClaim(ctx, m.config.Namespace, want.Name)
	if err != nil {
		return err
	}
	if is, ok := m.config.Owner.OwnsMirror(&found.ObjectMeta); !ok || is != e.mirror {
		return fmt.Errorf("cloud claim %s is not a copy for %s: its annotations name another object", want.Name, e.mirror)
	}
	if found.DeletionTimestamp != nil {
		return fmt.Errorf("cloud claim %s is being deleted: it is created again when it is gone", found.Name)
	}
	e.setClaim(found, claimDigest(found))
	e.written = m.config.Now()
	if e.copy.digest != volumeDigest(want) {
		return fmt.Errorf("cloud claim %s is for another volume: it is replaced when no Pod uses it", found.Name)
	}
	return nil
}

// volumeCopy returns the volume that the cloud is to have.
func (m *Mirrors) volumeCopy(
	mirror identity.Mirror, claim types.UID, volume *corev1.PersistentVolume,
) *cci.PersistentVolume {
	csi := volume.Spec.CSI
	meta := m.config.Owner.MirrorMeta(mirror, claim)
	meta.Annotations[policy.CloudSourceVolumeAnnotation] = csi.VolumeHandle
	return &cci.PersistentVolume{ObjectMeta: meta, Spec: cci.PersistentVolumeSpec{
		AccessModes: volume.Spec.AccessModes, Capacity: volume.Spec.Capacity, MountOptions: volume.Spec.MountOptions,
		CSI: &cci.CSIVolume{
			Driver: csi.Driver, VolumeHandle: csi.VolumeHandle, FSType: csi.FSType, ReadOnly: csi.ReadOnly,
			VolumeAttributes: csi.VolumeAttributes,
		},
		ClaimRef:      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: m.config.Namespace, Name: meta.Name},
		ReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}}
}

// claimCopy returns the claim for a volume.
func claimCopy(volume *cci.PersistentVolume) *cci.PersistentVolumeClaim {
	size := corev1.ResourceList{corev1.ResourceStorage: volume.Spec.Capacity[corev1.ResourceStorage]}
	return &cci.PersistentVolumeClaim{ObjectMeta: *volume.ObjectMeta.DeepCopy(), Spec: cci.PersistentVolumeClaimSpec{
		AccessModes: volume.Spec.AccessModes, Resources: cci.Resources{Requests: size}, VolumeName: volume.Name,
	}}
}

// volumeDigest identifies the data of a volume.
func volumeDigest(volume *cci.PersistentVolume) [sha256.Size]byte {
	return handleDigest(volume.Annotations[policy.CloudSourceVolumeAnnotation])
}

// claimDigest identifies the data of a claim, as long as it has the volume of its name.
func claimDigest(claim *cci.PersistentVolumeClaim) [sha256.Size]byte {
	if claim.Spec.VolumeName != claim.Name {
		return [sha256.Size]byte{}
	}
	return handleDigest(claim.Annotations[policy.CloudSourceVolumeAnnotation])
}

func handleDigest(handle string) [sha256.Size]byte { return sha256.Sum256([]byte(handle)) }

// createVolume creates the volume, or keeps the existing one. A volume that was bound to another claim, or has other
// data, is replaced.
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
		return fmt.Errorf("cloud volume %s is not a copy for %s: its annotations name another object", want.Name, mirror)
	}
	if isSameVolume(found, want) {
		return nil
	}
	err = m.config.API.DeleteVolume(ctx, want.Name, cci.DeleteOptions{UID: found.UID})
	if err != nil && !cci.IsNotFound(err) {
		return err
	}
	_, err = m.config.API.CreateVolume(ctx, want)
	return err
}

// isSameVolume reports whether a volume in the cloud has the data of the wanted one and is for its claim.
func isSameVolume(found, want *cci.PersistentVolume) bool {
	data, claim := found.Spec.CSI, found.Spec.ClaimRef
	return found.Status.Phase != corev1.VolumeReleased && volumeDigest(found) == volumeDigest(want) &&
		data != nil && data.Driver == want.Spec.CSI.Driver && data.VolumeHandle == want.Spec.CSI.VolumeHandle &&
		claim != nil && claim.Namespace == want.Spec.ClaimRef.Namespace && claim.Name == want.Spec.ClaimRef.Name
}

// refreshClaim creates a copy again that others have removed. While the claim in the cluster is not usable, its copy
// stays as it is.
func (m *Mirrors) refreshClaim(ctx context.Context, e *entry) error {
	err := m.syncClaim(ctx, e)
	_, missing := errors.AsType[*Missing](err)
	_, unsupported := errors.AsType[*Unsupported](err)
	if missing || unsupported {
		return nil
	}
	return err
}

// removeClaim deletes the claim and then the volume in the cloud. The data stay.
func (m *Mirrors) removeClaim(ctx context.Context, e *entry) error {
	name := m.config.Owner.MirrorName(e.mirror)
	if e.copy != nil {
		err := m.config.API.DeleteClaim(ctx, m.config.Namespace, name, cci.DeleteOptions{UID: e.copy.meta.UID})
		if err != nil && !cci.IsNotFound(err) {
			return err
		}
		e.setClaim(nil, [sha256.Size]byte{})
		e.leftover, e.written = true, m.config.Now()
	}
	volume, err := m.config.API.GetVolume(ctx, name)
	if err == nil {
		if is, ok := m.config.Owner.OwnsMirror(&volume.ObjectMeta); !ok || is != e.mirror {
			return fmt.Errorf("cloud volume %s is not a copy for %s: its annotations name another object", name, e.mirror)
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

// setClaim records a claim as the cloud has it, nil for none.
func (e *entry) setClaim(claim *cci.PersistentVolumeClaim, data [sha256.Size]byte) {
	e.exists.Store(claim != nil)
	e.copy = nil
	if claim != nil {
		e.copy = &copied{meta: claim.ObjectMeta, digest: data}
		e.copy.meta.ManagedFields = nil
		e.leftover = false
	}
}

// listClaims adopts the claims and volumes in the cloud, and adds the copies to listed. ok is false if the region has
// no volumes: then nothing is known.
func (m *Mirrors) listClaims(
	ctx context.Context, began time.Time, listed map[identity.Mirror]bool,
) (ok bool, err error) {
	if !m.config.Claims {
		return false, nil
	}
	options := cci.ListOptions{LabelSelector: m.config.Owner.Selector(), Limit: pageSize}
	claims, err := m.config.API.ListClaims(ctx, m.config.Namespace, options)
	if err == nil {
		var volumes []cci.PersistentVolume
		if volumes, err = m.config.API.ListVolumes(ctx, options); err == nil {
			m.noteVolumes(true)
			m.adoptClaims(claims, volumes, began, listed)
			return true, nil
		}
	}
	if cci.IsNotOffered(err) {
		m.noteVolumes(false)
		return false, nil
	}
	return false, err
}

// noteVolumes logs once that the region does not offer volumes, and once that it does again.
func (m *Mirrors) noteVolumes(offered bool) {
	switch {
	case !offered && !m.noVolumes:
		m.config.Logger.Warn("the region offers no volumes: Pods with claims wait; this is checked again at each list",
			"interval", m.config.Relist)
	case offered && m.noVolumes:
		m.config.Logger.Info("the region offers volumes now")
	}
	m.noVolumes = !offered
}

func (m *Mirrors) adoptClaims(
	claims []cci.PersistentVolumeClaim, volumes []cci.PersistentVolume, began time.Time, listed map[identity.Mirror]bool,
) {
	for i := range claims {
		mirror, ok := m.config.Owner.OwnsMirror(&claims[i].ObjectMeta)
		if !ok || mirror.Kind != identity.MirrorClaim || claims[i].DeletionTimestamp != nil {
			continue
		}
		listed[mirror] = true
		m.adoptClaim(mirror, began, func(e *entry) {
			e.setClaim(&claims[i], claimDigest(&claims[i]))
		})
	}
	for i := range volumes {
		mirror, ok := m.config.Owner.OwnsMirror(&volumes[i].ObjectMeta)
		if ok && mirror.Kind == identity.MirrorClaim && !listed[mirror] {
			listed[mirror] = true
			m.adoptClaim(mirror, began, func(e *entry) {
				e.setClaim(nil, [sha256.Size]byte{})
				e.leftover = true
			})
		}
	}
}

func (m *Mirrors) adoptClaim(mirror identity.Mirror, began time.Time, set func(*entry)) {
	e := m.lockListed(mirror)
	defer e.mu.Unlock()
	if e.written.Before(began) {
		set(e)
	}
}
