package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// tokenVolumePrefix is the prefix of the name of the volume that the API server adds to every Pod. Source: Kubernetes
// v1.36, plugin/pkg/admission/serviceaccount/admission.go.
const tokenVolumePrefix = "kube-api-access-"

// volumes translates all volumes and records which are left out.
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

// volume translates one volume. It returns nil if the volume is left out or refused.
func (b *builder) volume(v corev1.Volume) *cci.Volume {
	switch {
	case v.EmptyDir != nil:
		if v.EmptyDir.Mode != nil {
			b.warn("mode of volume %s is ignored: the cloud does not support it", v.Name)
		}
		return &cci.Volume{Name: v.Name, EmptyDir: emptyDir(v.EmptyDir)}
	case v.NFS != nil:
		return &cci.Volume{Name: v.Name, NFS: v.NFS}
	case v.HostPath != nil:
		b.hostPath(v)
		return nil
	case v.DownwardAPI != nil:
		b.owner(v.Name, v.DownwardAPI.DefaultUser)
		return &cci.Volume{Name: v.Name, DownwardAPI: &corev1.DownwardAPIVolumeSource{
			DefaultMode: v.DownwardAPI.DefaultMode, Items: b.downwardFiles(v.Name, v.DownwardAPI.Items),
		}}
	case v.ConfigMap != nil:
		b.owner(v.Name, v.ConfigMap.DefaultUser)
		return &cci.Volume{Name: v.Name, ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, v.ConfigMap.Name),
			Items:                b.items(v.Name, v.ConfigMap.Items),
			DefaultMode:          v.ConfigMap.DefaultMode, Optional: v.ConfigMap.Optional,
		}}
	case v.Secret != nil:
		b.owner(v.Name, v.Secret.DefaultUser)
		return &cci.Volume{Name: v.Name, Secret: &corev1.SecretVolumeSource{
			SecretName:  b.mirror(identity.MirrorSecret, v.Secret.SecretName).Name,
			Items:       b.items(v.Name, v.Secret.Items),
			DefaultMode: v.Secret.DefaultMode, Optional: v.Secret.Optional,
		}}
	case v.PersistentVolumeClaim != nil:
		return b.claim(v.Name, v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly)
	case v.Ephemeral != nil:
		return b.claim(v.Name, ephemeralClaim(b.pod, &v), false)
	case v.Projected != nil:
		return b.projected(v.Name, v.Projected)
	}
	b.refuse("volume %s has a type that the cloud cannot mount: use configMap, secret, emptyDir, downwardAPI, "+
		"projected, nfs or persistentVolumeClaim", v.Name)
	return nil
}

// owner reports that the cloud does not set the owner of files.
func (b *builder) owner(volume string, user *int64) {
	if user != nil {
		b.warn("the owner %d of files of volume %s is ignored: the cloud does not support it", *user, volume)
	}
}

// items drops the owners of files.
func (b *builder) items(volume string, items []corev1.KeyToPath) []corev1.KeyToPath {
	cloud := slices.Clone(items)
	for i := range cloud {
		b.owner(volume, cloud[i].User)
		cloud[i].User = nil
	}
	return cloud
}

// emptyDir drops a mode, and a size limit of 0. Kubernetes treats it as no limit. CCI refuses it because it is not a
// multiple of 1Gi.
func emptyDir(e *corev1.EmptyDirVolumeSource) *corev1.EmptyDirVolumeSource {
	cloud := &corev1.EmptyDirVolumeSource{Medium: e.Medium, SizeLimit: e.SizeLimit}
	if cloud.SizeLimit != nil && cloud.SizeLimit.IsZero() {
		cloud.SizeLimit = nil
	}
	return cloud
}

// hostPath records a volume that mounts the time zone of the node. It refuses all other hostPath volumes, because
// package policy has already replaced those that can be replaced.
func (b *builder) hostPath(v corev1.Volume) {
	if v.HostPath.Path != policy.LocaltimePath {
		b.refuse("volume %s is a hostPath: set its replacement in the cloud with annotation %s",
			v.Name, policy.HostPathReplacementAnnotation)
		return
	}
	if b.localtime == nil {
		b.localtime = map[string]bool{}
	}
	b.localtime[v.Name] = true
}

// claim refers to the mirror of a claim. Package mirror checks whether the cloud can mount its volume.
func (b *builder) claim(volume, name string, readOnly bool) *cci.Volume {
	if b.translator.config.NoClaims {
		b.refuse("volume %s needs claim %s: claims are disabled for this virtual node (pods.claims)", volume, name)
		return nil
	}
	return &cci.Volume{Name: volume, PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
		ClaimName: b.mirror(identity.MirrorClaim, name).Name, ReadOnly: readOnly,
	}}
}

// mirror refers to the mirror of an object in the Pod's namespace.
func (b *builder) mirror(kind identity.MirrorKind, name string) corev1.LocalObjectReference {
	return corev1.LocalObjectReference{
		Name: b.translator.config.Owner.MirrorName(identity.Mirror{Kind: kind, Namespace: b.pod.Namespace, Name: name}),
	}
}

// projected translates all sources of a projected volume. It returns nil if the volume is left out.
func (b *builder) projected(name string, p *corev1.ProjectedVolumeSource) *cci.Volume {
	if b.translator.config.NoTokens && isTokenVolume(name, p) {
		b.warn("the ServiceAccount token is left out: tokens are disabled for this virtual node " +
			"(pods.serviceAccountTokens)")
		return nil
	}
	b.owner(name, p.DefaultUser)
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
		return &cci.Projection{DownwardAPI: &corev1.DownwardAPIProjection{
			Items: b.downwardFiles(volume, source.DownwardAPI.Items),
		}}
	case source.ConfigMap != nil:
		return &cci.Projection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, source.ConfigMap.Name),
			Items:                b.items(volume, source.ConfigMap.Items), Optional: source.ConfigMap.Optional,
		}}
	case source.Secret != nil:
		return &cci.Projection{Secret: &corev1.SecretProjection{
			LocalObjectReference: b.mirror(identity.MirrorSecret, source.Secret.Name),
			Items:                b.items(volume, source.Secret.Items), Optional: source.Secret.Optional,
		}}
	case source.ServiceAccountToken != nil:
		return b.token(volume, source.ServiceAccountToken)
	}
	b.refuse("volume %s projects a source that the cloud does not support: use configMap, secret, downwardAPI or "+
		"serviceAccountToken", volume)
	return nil
}

// token refers to a key of the Secret with the tokens of the Pod, because CCI does not project tokens.
func (b *builder) token(volume string, token *corev1.ServiceAccountTokenProjection) *cci.Projection {
	if b.translator.config.NoTokens {
		b.refuse("volume %s projects a ServiceAccount token: tokens are disabled for this virtual node "+
			"(pods.serviceAccountTokens)", volume)
		return nil
	}
	b.owner(volume, token.User)
	name := b.translator.config.Owner.MirrorName(identity.TokenMirror(b.pod))
	return &cci.Projection{Secret: &corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: name},
		Items:                []corev1.KeyToPath{{Key: identity.TokenKey(*token), Path: token.Path}},
	}}
}

// isTokenVolume reports whether a volume is the one that the API server adds to every Pod.
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
