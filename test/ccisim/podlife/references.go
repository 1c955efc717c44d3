package podlife

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// mountVolumes reports whether everything exists that the volumes of the Pod refer to. A Pod that has started keeps
// what it has mounted.
func (r *podReconciler) mountVolumes() bool {
	if r.pod.Status.PodIP != "" {
		return true
	}
	for i := range r.pod.Spec.Volumes {
		volume := &r.pod.Spec.Volumes[i]
		if message := missingSource(r.tx, r.pod.Namespace, volume); message != "" {
			r.waitForOthers()
			r.warn("FailedMount", fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s", volume.Name, message))
			return false
		}
	}
	return true
}

// missingSource returns which object of a volume is missing, empty if none is.
func missingSource(tx store.Tx, namespace string, volume *corev1.Volume) string {
	switch {
	case volume.ConfigMap != nil:
		return missing(tx, objects.ConfigMaps, namespace, volume.ConfigMap.Name, "", volume.ConfigMap.Optional)
	case volume.Secret != nil:
		return missing(tx, objects.Secrets, namespace, volume.Secret.SecretName, "", volume.Secret.Optional)
	case volume.PersistentVolumeClaim != nil:
		return unbound(tx, namespace, volume.PersistentVolumeClaim.ClaimName)
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			message := ""
			if from := source.ConfigMap; from != nil {
				message = missing(tx, objects.ConfigMaps, namespace, from.Name, "", from.Optional)
			} else if from := source.Secret; from != nil {
				message = missing(tx, objects.Secrets, namespace, from.Name, "", from.Optional)
			}
			if message != "" {
				return message
			}
		}
	}
	return ""
}

// unbound returns why a claim cannot be mounted, empty if it can.
func unbound(tx store.Tx, namespace, name string) string {
	k := types.NamespacedName{Namespace: namespace, Name: name}
	claim, ok := tx.Get(objects.Claims, k).(*objects.PersistentVolumeClaim)
	switch {
	case !ok:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase != corev1.ClaimBound:
		return fmt.Sprintf("persistentvolumeclaim %q is not bound", name)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	}
	return ""
}

// missingVariable returns which object or key the environment of a container lacks, empty if it lacks none.
func missingVariable(tx store.Tx, namespace string, container *corev1.Container) string {
	for _, source := range container.EnvFrom {
		message := ""
		if from := source.ConfigMapRef; from != nil {
			message = missing(tx, objects.ConfigMaps, namespace, from.Name, "", from.Optional)
		} else if from := source.SecretRef; from != nil {
			message = missing(tx, objects.Secrets, namespace, from.Name, "", from.Optional)
		}
		if message != "" {
			return message
		}
	}
	for _, env := range container.Env {
		message := ""
		switch source := env.ValueFrom; {
		case source == nil:
		case source.ConfigMapKeyRef != nil:
			from := source.ConfigMapKeyRef
			message = missing(tx, objects.ConfigMaps, namespace, from.Name, from.Key, from.Optional)
		case source.SecretKeyRef != nil:
			from := source.SecretKeyRef
			message = missing(tx, objects.Secrets, namespace, from.Name, from.Key, from.Optional)
		}
		if message != "" {
			return message
		}
	}
	return ""
}

// missing returns, with the kubelet's message, that a ConfigMap or Secret does not exist or lacks a key.
func missing(tx store.Tx, res *objects.Resource, namespace, name, dataKey string, optional *bool) string {
	if optional != nil && *optional {
		return ""
	}
	has := false
	switch obj := tx.Get(res, types.NamespacedName{Namespace: namespace, Name: name}).(type) {
	case nil:
		return fmt.Sprintf("%s %q not found", res.Plural[:len(res.Plural)-1], name)
	case *objects.ConfigMap:
		_, has = obj.Data[dataKey]
	case *objects.Secret:
		_, has = obj.Data[dataKey]
	}
	if dataKey != "" && !has {
		return fmt.Sprintf("couldn't find key %s in %s %s/%s", dataKey, res.Kind, namespace, name)
	}
	return ""
}
