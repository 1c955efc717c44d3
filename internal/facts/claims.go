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

	"github.com/spillway-k8s/spillway/policy"
)

// Claims are the kinds of the volumes behind the Pod's claims (policy.Input.Claims), as far as the caches know.
func (s *Source) Claims(pod *corev1.Pod) map[string]string {
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

// FindClaims is Claims for a Pod that is being created: it asks the API server for claims that the watch has not
// brought yet, for the controller of a StatefulSet makes them milliseconds before the Pod. It may block until ctx ends;
// an error means that a claim could not be looked up.
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

// claim is what is claimed for a volume of a Pod, nil where the cache does not have it. The claim of a generic
// ephemeral volume is made of the Pod, after the Pod; until then it is as the Pod says.
func (s *Source) claim(namespace, name string, v *corev1.Volume) *corev1.PersistentVolumeClaimSpec {
	if claim, err := s.claims.PersistentVolumeClaims(namespace).Get(name); err == nil {
		return &claim.Spec
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		return &v.Ephemeral.VolumeClaimTemplate.Spec
	}
	return nil
}

// driverParameter of a StorageClass names the driver where one provisioner serves many, as everest-csi-provisioner does
// on CCE. Source: CCE manual, StorageClass.
const driverParameter = "csi.storage.k8s.io/csi-driver-name"

// kind is the kind of the bound volume, else the driver of the class, else empty: not known yet.
func (s *Source) kind(claim *corev1.PersistentVolumeClaimSpec) string {
	if claim == nil {
		return ""
	}
	if volume, err := s.volumes.Get(claim.VolumeName); err == nil {
		return policy.VolumeKind(volume)
	}
	class := s.defaultClass()
	if claim.StorageClassName != nil { // An empty name is no class at all.
		class, _ = s.classes.Get(*claim.StorageClassName) // nil where it is not there, a lister's only error.
	}
	if class == nil {
		return ""
	}
	return cmp.Or(class.Parameters[driverParameter], class.Provisioner)
}

// defaultAnnotation marks the StorageClass of claims that name none.
const defaultAnnotation = "storageclass.kubernetes.io/is-default-class"

// defaultClass is the StorageClass of claims that name none, nil where there is none. Of several it is the newest.
// Source: Kubernetes, StorageClass, "Default StorageClass".
func (s *Source) defaultClass() *storagev1.StorageClass {
	all, err := s.classes.List(labels.Everything())
	if err != nil { // A lister of a cache has no error but for a malformed object, which it never holds.
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
