package facts

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Volumes finds the kinds of volumes in caches.
type Volumes struct {
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

// NewVolumes returns a Volumes that reads the caches of the listers.
func NewVolumes(
	claims corelisters.PersistentVolumeClaimLister, volumes corelisters.PersistentVolumeLister,
	classes storagelisters.StorageClassLister,
) Volumes {
	return Volumes{claims: claims, volumes: volumes, classes: classes}
}

// Claim returns a PersistentVolumeClaim, nil if the cache does not contain it.
func (s Volumes) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	claim, err := s.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil
	}
	return claim
}

// Volume returns a PersistentVolume, nil if the cache does not contain it.
func (s Volumes) Volume(name string) *corev1.PersistentVolume {
	volume, err := s.volumes.Get(name)
	if err != nil {
		return nil
	}
	return volume
}

// Claims returns the kinds of the volumes of the Pod's claims (policy.Input.Claims), as far as the caches contain them.
func (s Volumes) Claims(pod *corev1.Pod) map[string]string {
	var kinds map[string]string
	for name, v := range policy.Claims(pod) {
		if kinds == nil {
			kinds = map[string]string{}
		}
		if kind := s.kind(s.claim(pod.Namespace, name, v)); kind != "" {
			kinds[name] = kind
		}
	}
	return kinds
}

// FindClaims does the same as Claims for a Pod that is being created. It gets claims that are not in the cache from the
// API server: the StatefulSet controller creates them milliseconds before the Pod. It may block until ctx ends. It
// returns an error if it cannot get a claim.
func (s *Source) FindClaims(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	kinds := s.Claims(pod)
	for name, v := range policy.Claims(pod) {
		if s.claim(pod.Namespace, name, v) != nil {
			continue
		}
		claim, err := s.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking up claim %s/%s: %w", pod.Namespace, name, err)
		}
		if kind := s.kind(&claim.Spec); kind != "" {
			kinds[name] = kind
		}
	}
	return kinds, nil
}

// claim returns the claim of a volume of a Pod, nil if the cache does not contain it. The claim of a generic ephemeral
// volume is created after the Pod; until then it is taken from the template in the Pod.
func (s Volumes) claim(namespace, name string, v *corev1.Volume) *corev1.PersistentVolumeClaimSpec {
	if claim, err := s.claims.PersistentVolumeClaims(namespace).Get(name); err == nil {
		return &claim.Spec
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		return &v.Ephemeral.VolumeClaimTemplate.Spec
	}
	return nil
}

// driverParameter of a StorageClass names the driver if one provisioner serves several, as everest-csi-provisioner does
// on CCE. Source: CCE manual, StorageClass.
const driverParameter = "csi.storage.k8s.io/csi-driver-name"

// kind returns the kind of the bound volume, else the driver of the class. It returns an empty string if neither is
// known yet.
func (s Volumes) kind(claim *corev1.PersistentVolumeClaimSpec) string {
	if claim == nil {
		return ""
	}
	if volume, err := s.volumes.Get(claim.VolumeName); err == nil {
		return policy.VolumeKind(volume)
	}
	class := s.defaultClass()
	if claim.StorageClassName != nil { // An empty name means no class.
		// nil if it does not exist, which is the only error of a lister.
		class, _ = s.classes.Get(*claim.StorageClassName)
	}
	if class == nil {
		return ""
	}
	return cmp.Or(class.Parameters[driverParameter], class.Provisioner)
}

// defaultAnnotation marks the StorageClass of claims without a class.
const defaultAnnotation = "storageclass.kubernetes.io/is-default-class"

// defaultClass returns the StorageClass of claims without a class, nil if there is none. If there are several, it is
// the newest. Source: Kubernetes, StorageClass, "Default StorageClass".
func (s Volumes) defaultClass() *storagev1.StorageClass {
	all, err := s.classes.List(labels.Everything())
	if err != nil { // A lister of a cache returns an error only for malformed objects, which it never contains.
		return nil
	}
	var found *storagev1.StorageClass
	for _, class := range all {
		if class.Annotations[defaultAnnotation] != "true" {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp) {
			found = class
		}
	}
	return found
}
