package fit

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// Volumes reads the objects that the volumes of a Pod depend on. The functions return nil for an object that does not
// exist or is not known. They do not block.
type Volumes struct {
	Claim  func(namespace, name string) *corev1.PersistentVolumeClaim
	Volume func(name string) *corev1.PersistentVolume
	// CSINode says which drivers a node has, and how many volumes it can attach.
	CSINode func(node string) *storagev1.CSINode
}

// WithVolumes sets how the cluster reads volumes, and returns it. Without that, no node is named for a Pod with a
// PersistentVolumeClaim.
func (c *Cluster) WithVolumes(v Volumes) *Cluster {
	c.volumes = v
	return c
}

type claimKey struct{ namespace, name string }

func claimsOf(pod *corev1.Pod) (keys []claimKey) {
	for i := range pod.Spec.Volumes {
		if claim := pod.Spec.Volumes[i].PersistentVolumeClaim; claim != nil {
			keys = append(keys, claimKey{pod.Namespace, claim.ClaimName})
		}
	}
	return keys
}

// podVolumes are the PersistentVolumes of a Pod.
type podVolumes struct {
	volumes []*corev1.PersistentVolume
	csiNode func(node string) *storagev1.CSINode
}

func (c *Cluster) volumesOf(pod *corev1.Pod) (v podVolumes, why string) {
	for i := range pod.Spec.Volumes {
		source := &pod.Spec.Volumes[i]
		switch {
		case source.Ephemeral != nil:
			return v, "the Pod has a generic ephemeral volume, and where it can be created is not known"
		case source.GCEPersistentDisk != nil, source.AWSElasticBlockStore != nil, source.ISCSI != nil,
			source.RBD != nil, source.AzureDisk != nil, source.Cinder != nil, source.VsphereVolume != nil:
			return v, "the Pod has a volume that is attached to one node, which is not checked"
		}
	}
	keys := claimsOf(pod)
	if len(keys) == 0 {
		return v, ""
	}
	if c.volumes.Claim == nil || c.volumes.Volume == nil {
		return v, "the Pod has a PersistentVolumeClaim, which is not checked"
	}
	v.csiNode = c.volumes.CSINode
	for _, key := range keys {
		claim := c.volumes.Claim(key.namespace, key.name)
		if why := c.checkClaim(claim, key); why != "" {
			return v, why
		}
		volume := c.volumes.Volume(claim.Spec.VolumeName)
		if volume == nil || volume.DeletionTimestamp != nil {
			return v, "the PersistentVolume of a claim does not exist or is being deleted"
		}
		s := &volume.Spec
		if s.CSI == nil && s.NFS == nil && s.Local == nil && s.HostPath == nil {
			return v, "the Pod has a kind of PersistentVolume that is not checked"
		}
		v.volumes = append(v.volumes, volume)
	}
	return v, ""
}

// checkClaim refuses a claim that is not bound. One that waits for its first consumer is bound where the scheduler
// decides, which depends on what the storage can do there.
func (c *Cluster) checkClaim(claim *corev1.PersistentVolumeClaim, key claimKey) (why string) {
	switch {
	case claim == nil:
		return "a PersistentVolumeClaim of the Pod does not exist"
	case claim.DeletionTimestamp != nil:
		return "a PersistentVolumeClaim of the Pod is being deleted"
	case claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound ||
		claim.Annotations[volumehelpers.AnnBindCompleted] == "":
		return "a PersistentVolumeClaim of the Pod is not bound, and whether it can be is not known"
	}
	shared := slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteMany) ||
		slices.Contains(claim.Spec.AccessModes, corev1.ReadOnlyMany)
	if !shared && c.claims[key] > 0 {
		return "a volume that one node at a time can use is in use"
	}
	return ""
}

func (v *podVolumes) check(n *node) refusal {
	needed := map[string]int{}
	for _, volume := range v.volumes {
		if err := volumehelpers.CheckNodeAffinity(volume, n.Labels); err != nil || !inZone(volume, n) {
			return wrongVolume
		}
		if volume.Spec.CSI != nil {
			needed[volume.Spec.CSI.Driver]++
		}
	}
	if len(needed) == 0 {
		return ""
	}
	if v.csiNode == nil {
		return wrongVolume
	}
	drivers := v.csiNode(n.Name)
	if drivers == nil {
		return wrongVolume
	}
	for driver, count := range needed {
		i := slices.IndexFunc(drivers.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == driver })
		if i < 0 {
			return wrongVolume
		}
		// n.volumes counts those of all drivers, and some of them twice: it is never too small.
		limit := drivers.Spec.Drivers[i].Allocatable
		if limit != nil && limit.Count != nil && n.volumes+count > int(*limit.Count) {
			return wrongVolume
		}
	}
	return ""
}

// inZone reports whether the zone and region labels of a volume allow the node. A node without such labels is allowed
// (volumezone/volume_zone.go).
func inZone(volume *corev1.PersistentVolume, n *node) bool {
	generally := map[string]string{
		corev1.LabelTopologyZone: corev1.LabelTopologyZone, corev1.LabelTopologyRegion: corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
		corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	}
	labeled := false
	for key := range generally {
		_, has := n.Labels[key]
		labeled = labeled || has
	}
	if !labeled {
		return true
	}
	for key, general := range generally {
		allowed, ok := volume.Labels[key]
		if !ok {
			continue
		}
		value, ok := n.Labels[key]
		if !ok {
			value, ok = n.Labels[general]
		}
		if !ok || !slices.Contains(strings.Split(allowed, "__"), value) {
			return false
		}
	}
	return true
}
