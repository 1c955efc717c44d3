package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
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
		return &cci.Volume{Name: v.Name, ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, v.ConfigMap.Name), Items: v.ConfigMap.Items,
			DefaultMode: v.ConfigMap.DefaultMode, Optional: v.ConfigMap.Optional,
		}}
	case v.Secret != nil:
		return &cci.Volume{Name: v.Name, Secret: &corev1.SecretVolumeSource{
			SecretName: b.mirror(identity.MirrorSecret, v.Secret.SecretName).Name, Items: v.Secret.Items,
			DefaultMode: v.Secret.DefaultMode, Optional: v.Secret.Optional,
		}}
	case v.PersistentVolumeClaim != nil:
		return b.claim(v.Name, v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly)
	case v.Ephemeral != nil:
		return b.claim(v.Name, ephemeralClaim(b.pod, &v), false)
	case v.Projected != nil:
		return b.projected(v.Name, v.Projected)
	}
	b.refuse("volume %s is of a kind that virtual nodes cannot mount: use configMap, secret, emptyDir, downwardAPI, projected, nfs or a claim", v.Name)
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
		b.refuse("volume %s is a hostPath: set its replacement in the cloud with annotation %s", v.Name, policy.HostPathReplacementAnnotation)
		return
	}
	if b.localtime == nil {
		b.localtime = map[string]bool{}
	}
	b.localtime[v.Name] = true
}

// claim refers to the copy of a claim: package mirror judges what is behind it.
func (b *builder) claim(volume, name string, readOnly bool) *cci.Volume {
	if b.translator.config.NoClaims {
		b.refuse("volume %s needs claim %s: this virtual node carries no claims to the cloud", volume, name)
		return nil
	}
	return &cci.Volume{Name: volume, PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
		ClaimName: b.mirror(identity.MirrorClaim, name).Name, ReadOnly: readOnly,
	}}
}

// mirror refers to the copy of an object of the Pod's namespace.
func (b *builder) mirror(kind identity.MirrorKind, name string) corev1.LocalObjectReference {
	return corev1.LocalObjectReference{
		Name: b.translator.config.Owner.MirrorName(identity.Mirror{Kind: kind, Namespace: b.pod.Namespace, Name: name}),
	}
}

func isOptional(optional *bool) bool { return optional != nil && *optional }

// projected translates all sources. nil where the volume is left out or refused.
func (b *builder) projected(name string, p *corev1.ProjectedVolumeSource) *cci.Volume {
	if b.translator.config.NoTokens && isTokenVolume(name, p) {
		b.warn("the token of the service account is left out: this virtual node carries none to the cloud")
		return nil
	}
	projected := &cci.ProjectedVolume{DefaultMode: p.DefaultMode}
	for i := range p.Sources {
		if source := b.projection(name, &p.Sources[i]); source != nil {
			projected.Sources = append(projected.Sources, *source)
		}
	}
	return &cci.Volume{Name: name, Projected: projected}
}

func (b *builder) projection(volume string, source *corev1.VolumeProjection) *cci.Projection {
	switch {
	case source.DownwardAPI != nil:
		return &cci.Projection{DownwardAPI: &corev1.DownwardAPIProjection{Items: b.downwardFiles(volume, source.DownwardAPI.Items)}}
	case source.ConfigMap != nil:
		return &cci.Projection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, source.ConfigMap.Name), Items: source.ConfigMap.Items, Optional: source.ConfigMap.Optional,
		}}
	case source.Secret != nil:
		return &cci.Projection{Secret: &corev1.SecretProjection{
			LocalObjectReference: b.mirror(identity.MirrorSecret, source.Secret.Name), Items: source.Secret.Items, Optional: source.Secret.Optional,
		}}
	case source.ServiceAccountToken != nil:
		return b.token(volume, source.ServiceAccountToken)
	}
	b.refuse("volume %s projects something that virtual nodes cannot carry: they carry configMap, secret, downwardAPI and serviceAccountToken", volume)
	return nil
}

// token shows a key of the Secret that holds the Pod's tokens: CCI knows no projection of tokens.
func (b *builder) token(volume string, token *corev1.ServiceAccountTokenProjection) *cci.Projection {
	if b.translator.config.NoTokens {
		b.refuse("volume %s projects a token of the service account: this virtual node carries none to the cloud", volume)
		return nil
	}
	return &cci.Projection{Secret: &corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: b.translator.config.Owner.MirrorName(identity.TokenMirror(b.pod))},
		Items:                []corev1.KeyToPath{{Key: identity.TokenKey(*token), Path: token.Path}},
	}}
}

// isTokenVolume tells the volume that Kubernetes adds to every Pod by itself.
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
