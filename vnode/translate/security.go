package translate

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// security translates the security context of a container. Package policy refuses privileged containers earlier.
func (b *builder) security(c *corev1.Container) *cci.SecurityContext {
	s := c.SecurityContext
	if s == nil {
		return nil
	}
	where := "container " + c.Name
	if s.Privileged != nil && *s.Privileged {
		b.refuse("%s is privileged, which the cloud does not allow", where)
	}
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		b.warn("allowPrivilegeEscalation=false of %s is ignored: the cloud does not support it", where)
	}
	b.warnAboutProfiles(where, s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions)
	translated := cci.SecurityContext{
		Capabilities: s.Capabilities, ProcMount: s.ProcMount, ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem,
		RunAsGroup: s.RunAsGroup, RunAsNonRoot: s.RunAsNonRoot, RunAsUser: s.RunAsUser,
	}
	if translated == (cci.SecurityContext{}) {
		return nil
	}
	return &translated
}

// podSecurity translates the security context of the Pod.
func (b *builder) podSecurity() *cci.PodSecurityContext {
	s := b.spec.SecurityContext
	if s == nil {
		return nil
	}
	b.warnAboutProfiles("the Pod", s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions)
	if s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy != corev1.SupplementalGroupsPolicyMerge {
		b.warn("supplementalGroupsPolicy is ignored: the cloud does not support it")
	}
	translated := cci.PodSecurityContext{
		FSGroup: s.FSGroup, FSGroupChangePolicy: s.FSGroupChangePolicy,
		RunAsGroup: s.RunAsGroup, RunAsNonRoot: s.RunAsNonRoot, RunAsUser: s.RunAsUser,
		SupplementalGroups: s.SupplementalGroups, Sysctls: s.Sysctls,
	}
	if translated.FSGroup == nil && translated.FSGroupChangePolicy == nil && translated.RunAsGroup == nil &&
		translated.RunAsNonRoot == nil && translated.RunAsUser == nil && len(translated.SupplementalGroups) == 0 &&
		len(translated.Sysctls) == 0 {
		return nil
	}
	return &translated
}

// warnAboutProfiles warns about security profiles of a node's kernel. The default profile of the container runtime
// needs no warning, because each cloud Pod has a kernel of its own.
func (b *builder) warnAboutProfiles(
	where string, seccomp *corev1.SeccompProfile, appArmor *corev1.AppArmorProfile, seLinux *corev1.SELinuxOptions,
) {
	if seccomp != nil && seccomp.Type == corev1.SeccompProfileTypeLocalhost {
		b.warn("the seccomp profile of %s is ignored: cloud Pods have no host", where)
	}
	if appArmor != nil && appArmor.Type == corev1.AppArmorProfileTypeLocalhost {
		b.warn("the AppArmor profile of %s is ignored: cloud Pods have no host", where)
	}
	if seLinux != nil {
		b.warn("seLinuxOptions of %s are ignored: the cloud does not support them", where)
	}
}
