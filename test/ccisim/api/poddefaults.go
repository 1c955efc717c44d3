package api

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// setPodDefaults sets the defaults of the service, as its published examples show them.
func setPodDefaults(pod *objects.Pod) {
	pod.Spec.RestartPolicy = cmp.Or(pod.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	pod.Spec.DNSPolicy = cmp.Or(pod.Spec.DNSPolicy, corev1.DNSDefault)
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		grace := int64(30)
		pod.Spec.TerminationGracePeriodSeconds = &grace
	}
	for _, c := range objects.AllContainers(pod) {
		setContainerDefaults(c)
	}
	for i := range pod.Spec.Volumes {
		setVolumeDefaults(&pod.Spec.Volumes[i])
	}
}

func setContainerDefaults(c *corev1.Container) {
	c.TerminationMessagePath = cmp.Or(c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	c.TerminationMessagePolicy = cmp.Or(c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		c.Ports[i].Protocol = cmp.Or(c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for name, limit := range c.Resources.Limits {
		if _, ok := c.Resources.Requests[name]; ok {
			continue
		}
		if c.Resources.Requests == nil {
			c.Resources.Requests = corev1.ResourceList{}
		}
		c.Resources.Requests[name] = limit
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe == nil {
			continue
		}
		probe.TimeoutSeconds = cmp.Or(probe.TimeoutSeconds, 1)
		probe.PeriodSeconds = cmp.Or(probe.PeriodSeconds, 10)
		probe.SuccessThreshold = cmp.Or(probe.SuccessThreshold, 1)
		probe.FailureThreshold = cmp.Or(probe.FailureThreshold, 3)
		if probe.HTTPGet != nil {
			probe.HTTPGet.Scheme = cmp.Or(probe.HTTPGet.Scheme, corev1.URISchemeHTTP)
			probe.HTTPGet.Path = cmp.Or(probe.HTTPGet.Path, "/")
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			from.FieldRef.APIVersion = cmp.Or(from.FieldRef.APIVersion, "v1")
		}
	}
}

func setVolumeDefaults(v *corev1.Volume) {
	mode := func(field **int32) {
		if *field == nil {
			value := int32(0o644)
			*field = &value
		}
	}
	switch {
	case v.ConfigMap != nil:
		mode(&v.ConfigMap.DefaultMode)
	case v.Secret != nil:
		mode(&v.Secret.DefaultMode)
	case v.DownwardAPI != nil:
		mode(&v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		mode(&v.Projected.DefaultMode)
	}
}

// zoneKeys are the only keys of node affinity that the service knows.
var zoneKeys = []string{
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
}

// dropForeignAffinity removes a node affinity that uses another key, as the service does according to the text of the
// schema.
func (s *Server) dropForeignAffinity(pod *objects.Pod) {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil {
		return
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return
	}
	for _, term := range required.NodeSelectorTerms {
		for _, requirement := range term.MatchExpressions {
			if !slices.Contains(zoneKeys, requirement.Key) {
				s.cfg.Requests.countDropped("create", objects.Pods.Plural, pod.Namespace, pod.Name,
					[]string{"spec.affinity.nodeAffinity"})
				affinity.NodeAffinity = nil
				return
			}
		}
	}
}
