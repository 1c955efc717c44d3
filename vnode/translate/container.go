package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// container translates a container field by field.
func (b *builder) container(c *corev1.Container) cci.Container {
	return cci.Container{
		Name:                     c.Name,
		Image:                    b.translator.image(c.Image),
		ImagePullPolicy:          c.ImagePullPolicy,
		Command:                  c.Command,
		Args:                     c.Args,
		WorkingDir:               c.WorkingDir,
		EnvFrom:                  b.envFrom(c),
		Env:                      b.env(c),
		Ports:                    b.ports(c),
		Resources:                b.resources(c),
		VolumeMounts:             b.mounts(c),
		Lifecycle:                b.lifecycle(c),
		LivenessProbe:            b.probe(c, "livenessProbe", c.LivenessProbe),
		ReadinessProbe:           b.probe(c, "readinessProbe", c.ReadinessProbe),
		StartupProbe:             b.probe(c, "startupProbe", c.StartupProbe),
		RestartPolicy:            c.RestartPolicy,
		SecurityContext:          b.security(c),
		Stdin:                    c.Stdin,
		StdinOnce:                c.StdinOnce,
		TTY:                      c.TTY,
		TerminationMessagePath:   c.TerminationMessagePath,
		TerminationMessagePolicy: c.TerminationMessagePolicy,
	}
}

// image replaces the longest configured prefix of the image, because the cloud can only pull from registries that it
// reaches.
func (t *Translator) image(image string) string {
	var longest ImagePrefix
	for _, prefix := range t.config.ImagePrefixes {
		if strings.HasPrefix(image, prefix.From) && len(prefix.From) > len(longest.From) {
			longest = prefix
		}
	}
	return longest.To + strings.TrimPrefix(image, longest.From)
}

func (b *builder) ports(c *corev1.Container) []cci.ContainerPort {
	var ports []cci.ContainerPort
	for _, p := range c.Ports {
		if p.HostPort != 0 {
			b.warn("hostPort %d of container %s is ignored: cloud Pods have no host", p.HostPort, c.Name)
		}
		ports = append(ports, cci.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
	}
	return ports
}

func (b *builder) mounts(c *corev1.Container) []cci.VolumeMount {
	var mounts []cci.VolumeMount
	for _, m := range c.VolumeMounts {
		if b.dropped[m.Name] {
			continue
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			b.warn("mountPropagation of volume %s in container %s is ignored: cloud Pods have no host", m.Name, c.Name)
		}
		if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled {
			b.warn("recursiveReadOnly of volume %s in container %s is ignored: the cloud does not support it",
				m.Name, c.Name)
		}
		if len(m.BindMountOptions) > 0 {
			b.warn("bindMountOptions of volume %s in container %s are ignored: the cloud does not support them",
				m.Name, c.Name)
		}
		mounts = append(mounts, cci.VolumeMount{
			Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly, SubPath: m.SubPath, SubPathExpr: m.SubPathExpr,
		})
	}
	return mounts
}

func (b *builder) lifecycle(c *corev1.Container) *cci.Lifecycle {
	if c.Lifecycle == nil {
		return nil
	}
	if c.Lifecycle.StopSignal != nil {
		b.warn("lifecycle.stopSignal of container %s is ignored: the cloud does not support it", c.Name)
	}
	hooks := cci.Lifecycle{
		PostStart: b.handler(c, "postStart", c.Lifecycle.PostStart),
		PreStop:   b.handler(c, "preStop", c.Lifecycle.PreStop),
	}
	if hooks == (cci.Lifecycle{}) {
		return nil
	}
	return &hooks
}

func (b *builder) handler(c *corev1.Container, name string, h *corev1.LifecycleHandler) *cci.Handler {
	switch {
	case h == nil:
		return nil
	case h.Sleep != nil || h.TCPSocket != nil:
		b.warn("the %s hook of container %s is ignored: the cloud supports exec and httpGet", name, c.Name)
		return nil
	case h.Exec == nil && h.HTTPGet == nil:
		return nil
	}
	return &cci.Handler{Exec: h.Exec, HTTPGet: b.httpGet(c, name, h.HTTPGet)}
}

// httpGet drops the protocol of a request. The cloud uses HTTP/1.1.
func (b *builder) httpGet(c *corev1.Container, name string, action *corev1.HTTPGetAction) *corev1.HTTPGetAction {
	if action == nil || action.Protocol == nil {
		return action
	}
	b.warn("httpGet.protocol of the %s of container %s is ignored: the cloud uses HTTP/1.1", name, c.Name)
	cloud := *action
	cloud.Protocol = nil
	return &cloud
}

func (b *builder) probe(c *corev1.Container, name string, p *corev1.Probe) *cci.Probe {
	switch {
	case p == nil:
		return nil
	case p.Exec == nil && p.HTTPGet == nil && p.TCPSocket == nil:
		b.refuse("container %s has a %s of a type that the cloud does not support: use exec, httpGet or tcpSocket",
			c.Name, name)
		return nil
	case p.TerminationGracePeriodSeconds != nil:
		b.warn("terminationGracePeriodSeconds of the %s of container %s is ignored: that of the Pod applies",
			name, c.Name)
	}
	return &cci.Probe{
		Exec: p.Exec, HTTPGet: b.httpGet(c, name, p.HTTPGet), TCPSocket: p.TCPSocket,
		InitialDelaySeconds: p.InitialDelaySeconds, TimeoutSeconds: p.TimeoutSeconds, PeriodSeconds: p.PeriodSeconds,
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold,
	}
}
