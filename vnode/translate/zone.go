package translate

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// zoneAffinity requires the zone of the virtual node. It returns nil if the node has none, and in CCI 1.0, where the
// network has a zone. Source: CCI API, "Pod": a required node affinity with the keys of zones and regions.
func (t *Translator) zoneAffinity() *corev1.Affinity {
	if t.config.Zone == "" || t.config.Version == policy.CCI1 {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{t.config.Zone},
			}}}},
		},
	}}
}
