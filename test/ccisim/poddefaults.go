package ccisim

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// setPodDefaults fills in what the service fills in, as its published examples show.
func setPodDefaults(pod *Pod) {
	setDefault(&pod.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&pod.Spec.DNSPolicy, corev1.DNSDefault)
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		grace := int64(30)
		pod.Spec.TerminationGracePeriodSeconds = &grace
	}
	for _, c := range allContainers(pod) {
		setContainerDefaults(c)
	}
	for i := range pod.Spec.Volumes {
		setVolumeDefaults(&pod.Spec.Volumes[i])
	}
}

func setContainerDefaults(c *corev1.Container) {
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
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
		setDefault(&probe.TimeoutSeconds, 1)
		setDefault(&probe.PeriodSeconds, 10)
		setDefault(&probe.SuccessThreshold, 1)
		setDefault(&probe.FailureThreshold, 3)
		if probe.HTTPGet != nil {
			setDefault(&probe.HTTPGet.Scheme, corev1.URISchemeHTTP)
			setDefault(&probe.HTTPGet.Path, "/")
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			setDefault(&from.FieldRef.APIVersion, "v1")
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

// zoneKeys are the only node affinity keys that the service knows.
var zoneKeys = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion}

// dropForeignAffinity leaves the node affinity empty when it uses another key, as the schema's text says the service does.
func (s *Sim) dropForeignAffinity(pod *Pod) {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, requirement := range term.MatchExpressions {
			if !slices.Contains(zoneKeys, requirement.Key) {
				s.records.countDropped("create", pods.plural, pod.Namespace, pod.Name, []string{"spec.affinity.nodeAffinity"})
				affinity.NodeAffinity = nil
				return
			}
		}
	}
}
