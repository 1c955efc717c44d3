package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// tokenVolumePrefix begins the name of the volume that Kubernetes adds to every Pod by itself.
const tokenVolumePrefix = "kube-api-access-"

// volumes translates all volumes and notes which are left out.
func (b *builder) volumes() []cci.Volume {
	var volumes []cci.Volume
	for _, v := range b.spec.Volumes {
		if cloud := b.volume(v); cloud != nil {
			volumes = append(volumes, *cloud)
		} else {
			b.dropped[v.Name] = true
		}
	}
	return volumes
}

// volume is nil for one that is left out or refused.
func (b *builder) volume(v corev1.Volume) *cci.Volume {
	switch {
	case v.EmptyDir != nil:
		return &cci.Volume{Name: v.Name, EmptyDir: emptyDir(v.EmptyDir)}
	case v.NFS != nil:
		return &cci.Volume{Name: v.Name, NFS: v.NFS}
	case v.HostPath != nil:
		b.hostPath(v)
		return nil
	case v.DownwardAPI != nil:
		return &cci.Volume{Name: v.Name, DownwardAPI: &corev1.DownwardAPIVolumeSource{
			DefaultMode: v.DownwardAPI.DefaultMode, Items: b.downwardFiles(v.Name, v.DownwardAPI.Items),
		}}
	case v.ConfigMap != nil:
		return b.reference(v.Name, "ConfigMap", v.ConfigMap.Name, v.ConfigMap.Optional)
	case v.Secret != nil:
		return b.reference(v.Name, "Secret", v.Secret.SecretName, v.Secret.Optional)
	case v.Projected != nil:
		return b.projected(v.Name, v.Projected)
	}
	b.refuse("volume %s is of a kind that virtual nodes cannot mount: use emptyDir, nfs or downwardAPI", v.Name)
	return nil
}

// emptyDir leaves out a size limit of 0, which is none to Kubernetes and no multiple of 1Gi to the cloud.
func emptyDir(e *corev1.EmptyDirVolumeSource) *corev1.EmptyDirVolumeSource {
	cloud := &corev1.EmptyDirVolumeSource{Medium: e.Medium, SizeLimit: e.SizeLimit}
	if cloud.SizeLimit != nil && cloud.SizeLimit.IsZero() {
		cloud.SizeLimit = nil
	}
	return cloud
}

// hostPath leaves out the one that stands for the node's time zone; package policy has replaced the others, or not.
func (b *builder) hostPath(v corev1.Volume) {
	if v.HostPath.Path != policy.LocaltimePath {
		b.refuse("volume %s is a hostPath: say what becomes of it in the cloud with annotation %s", v.Name, policy.HostPathReplacementAnnotation)
		return
	}
	if b.localtime == nil {
		b.localtime = map[string]bool{}
	}
	b.localtime[v.Name] = true
}

// reference stands for a volume of a ConfigMap or Secret, which are not mirrored into the cloud: an optional one is empty, as it is
// on a local node where the object is missing.
func (b *builder) reference(volume, kind, name string, optional *bool) *cci.Volume {
	if !isOptional(optional) {
		b.refuse("volume %s needs %s %s: virtual nodes do not carry ConfigMaps and Secrets to the cloud", volume, kind, name)
		return nil
	}
	b.warn("volume %s goes without %s %s: it is not carried to the cloud", volume, kind, name)
	return emptyVolume(volume)
}

func isOptional(optional *bool) bool { return optional != nil && *optional }

func emptyVolume(name string) *cci.Volume {
	return &cci.Volume{Name: name, EmptyDir: &corev1.EmptyDirVolumeSource{}}
}

// projected keeps the downward API's part. nil where the volume is left out or refused.
func (b *builder) projected(name string, p *corev1.ProjectedVolumeSource) *cci.Volume {
	if isTokenVolume(name, p) {
		return nil
	}
	before := len(b.refusals)
	projected := &cci.ProjectedVolume{DefaultMode: p.DefaultMode}
	for _, source := range p.Sources {
		switch {
		case source.DownwardAPI != nil:
			projected.Sources = append(projected.Sources, cci.Projection{
				DownwardAPI: &corev1.DownwardAPIProjection{Items: b.downwardFiles(name, source.DownwardAPI.Items)},
			})
		case source.ConfigMap != nil:
			b.reference(name, "ConfigMap", source.ConfigMap.Name, source.ConfigMap.Optional)
		case source.Secret != nil:
			b.reference(name, "Secret", source.Secret.Name, source.Secret.Optional)
		default:
			b.refuse("volume %s projects something else than the downward API: virtual nodes carry no tokens and certificates to the cloud", name)
		}
	}
	switch {
	case len(b.refusals) > before:
		return nil
	case len(projected.Sources) == 0:
		return emptyVolume(name)
	}
	return &cci.Volume{Name: name, Projected: projected}
}

// isTokenVolume tells the volume that Kubernetes adds by itself: the cloud's Pods have no use for it as long as they cannot
// reach the API server with it.
func isTokenVolume(name string, p *corev1.ProjectedVolumeSource) bool {
	if !strings.HasPrefix(name, tokenVolumePrefix) {
		return false
	}
	for _, source := range p.Sources {
		if source.ServiceAccountToken != nil {
			return true
		}
	}
	return false
}
