package translate

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// DefaultCloudAnnotations are the annotations that CCI reads and that neither open the network nor cost anything by
// themselves. Source: CCI API, Pod annotations.
func DefaultCloudAnnotations() policy.CloudAnnotations {
	const (
		instanceType = sizes.InstanceTypeAnnotation
		preference   = sizes.InstanceTypePreferenceAnnotation
		general      = string(sizes.GeneralComputing)
		lite         = string(sizes.GeneralComputingLite)
	)
	return policy.CloudAnnotations{
		instanceType + "=" + general, instanceType + "=" + lite,
		preference + "=" + general + "," + lite, preference + "=" + lite + "," + general,
		cci.ExporterAnnotation, cci.ExporterPortAnnotation,
		"ccisim.spillway.io/*", // The simulator reads them. They mean nothing to the real cloud.
	}
}

// cloudDomains are the domains of the keys that the cloud reads or writes. Other keys have no meaning there.
var cloudDomains = []string{"cci.io", "yangtse.io", "openvessel.io", "huaweicloud.com", "tenant.kubernetes.io",
	"log.stdoutcollection.kubernetes.io", "logconf.k8s.io"}

// projectLabel assigns a Pod to an enterprise project, which has a bill and permissions of its own. Source: CCI API.
const projectLabel = "sys_enterprise_project_id"

// isCloudKey reports whether the cloud may read a label or an annotation.
func isCloudKey(key string) bool {
	if key == policy.HostPathReplacementAnnotation || key == policy.BurstLabelAlias {
		return false // Spillway reads them.
	}
	domain, _, _ := strings.Cut(key, "/")
	return key == projectLabel || slices.ContainsFunc(cloudDomains, func(known string) bool {
		return domain == known || strings.HasSuffix(domain, "."+known)
	})
}

// The size of a Pod. largeAnnotation is required above 32 vCPU. Source: CCI API, "Pod annotations".
const (
	largeAnnotation = "resource.cci.io/resizing-large-size-instance-greater-than-32-cores"
	largeMilliCPU   = 32000
)

// meta returns the metadata of the cloud Pod. Of the annotations of the Pod it contains those that are allowed, and of
// its labels also all that the cloud does not read: they help users to find the Pod. namespace allows annotations
// besides those of the configuration.
func (b *builder) meta(namespace policy.CloudAnnotations) metav1.ObjectMeta {
	var left []string
	values := map[string][]string{}
	pick := func(all map[string]string, keepOthers bool) map[string]string {
		kept := map[string]string{}
		for key, value := range all {
			read := isCloudKey(key)
			switch {
			case keepOthers && !read, b.translator.config.CloudAnnotations.Allow(key, value),
				namespace.Allow(key, value):
				kept[key] = value
			case read && key != policy.FlavorAnnotation && key != largeAnnotation: // The translation itself sets them.
				left = append(left, key)
				values[key] = slices.Concat(b.translator.config.CloudAnnotations.Values(key), namespace.Values(key))
			}
		}
		return kept
	}
	key := identity.KeyOf(b.pod)
	meta := metav1.ObjectMeta{
		Name: identity.CloudName(key), Labels: pick(b.pod.Labels, true), Annotations: pick(b.pod.Annotations, false),
	}
	b.warnAboutLeft(left, values)
	b.annotateSize(meta.Annotations)
	b.useSnapshots(meta.Annotations)
	b.translator.config.Owner.Mark(&meta, key)
	return meta
}

// maxLeft bounds the list of keys in a message.
const maxLeft = 400

// warnAboutLeft reports the keys that are left out. values are those that are allowed, for keys of which only some are.
func (b *builder) warnAboutLeft(left []string, values map[string][]string) {
	slices.Sort(left)
	var forbidden []string
	for _, key := range slices.Compact(left) {
		if len(values[key]) == 0 {
			forbidden = append(forbidden, key)
			continue
		}
		b.warn("without %s, which must be one of: %s", key, policy.Clip(strings.Join(values[key], "; "), maxLeft))
	}
	if len(forbidden) > 0 {
		b.warn("without %s: what configures the cloud needs the permission of an administrator "+
			"(pods.cloudAnnotations, or annotation %s of the namespace)",
			policy.Clip(strings.Join(forbidden, ", "), maxLeft), policy.AllowCloudAnnotationsAnnotation)
	}
}

// annotateSize sets the annotation of the size. CCI 1.0 uses the sum of the containers instead.
func (b *builder) annotateSize(annotations map[string]string) {
	delete(annotations, policy.FlavorAnnotation)
	delete(annotations, largeAnnotation)
	if b.translator.config.Version == policy.CCI1 {
		annotations[policy.CloudSizeAnnotation] = b.size.String()
		return
	}
	annotations[policy.FlavorAnnotation] = b.size.String()
	if b.size.MilliCPU > largeMilliCPU {
		annotations[largeAnnotation] = "true"
	}
}
