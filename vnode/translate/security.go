package translate

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// security copies what a container may choose in the cloud. Privileged containers are a restriction of package policy.
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
		b.warn("allowPrivilegeEscalation=false of %s is left out: the cloud does not know it", where)
	}
	b.warnAboutProfiles(where, s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions)
	carried := cci.SecurityContext{
		Capabilities: s.Capabilities, ProcMount: s.ProcMount, ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem,
		RunAsGroup: s.RunAsGroup, RunAsNonRoot: s.RunAsNonRoot, RunAsUser: s.RunAsUser,
	}
	if carried == (cci.SecurityContext{}) {
		return nil
	}
	return &carried
}

// podSecurity copies what holds for all containers.
func (b *builder) podSecurity() *cci.PodSecurityContext {
	s := b.spec.SecurityContext
	if s == nil {
		return nil
	}
	b.warnAboutProfiles("the Pod", s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions)
	if s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy != corev1.SupplementalGroupsPolicyMerge {
		b.warn("supplementalGroupsPolicy is left out: the cloud does not know it")
	}
	carried := cci.PodSecurityContext{
		FSGroup: s.FSGroup, FSGroupChangePolicy: s.FSGroupChangePolicy, RunAsGroup: s.RunAsGroup, RunAsNonRoot: s.RunAsNonRoot,
		RunAsUser: s.RunAsUser, SupplementalGroups: s.SupplementalGroups, Sysctls: s.Sysctls,
	}
	if carried.FSGroup == nil && carried.FSGroupChangePolicy == nil && carried.RunAsGroup == nil && carried.RunAsNonRoot == nil &&
		carried.RunAsUser == nil && len(carried.SupplementalGroups) == 0 && len(carried.Sysctls) == 0 {
		return nil
	}
	return &carried
}

// warnAboutProfiles names the profiles of a node's kernel that were asked for. The runtime's default needs no words: in the cloud
// each Pod has a kernel of its own.
func (b *builder) warnAboutProfiles(
	where string, seccomp *corev1.SeccompProfile, appArmor *corev1.AppArmorProfile, seLinux *corev1.SELinuxOptions,
) {
	if seccomp != nil && seccomp.Type == corev1.SeccompProfileTypeLocalhost {
		b.warn("the seccomp profile of %s is left out: there is no host", where)
	}
	if appArmor != nil && appArmor.Type == corev1.AppArmorProfileTypeLocalhost {
		b.warn("the AppArmor profile of %s is left out: there is no host", where)
	}
	if seLinux != nil {
		b.warn("seLinuxOptions of %s are left out: the cloud does not know them", where)
	}
}
