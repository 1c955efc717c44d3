package fit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/spillway-k8s/spillway/policy"
)

// world is a cluster of two local nodes, a in zone x and b in zone y, and one virtual node in zone z. Each local node
// has 4 CPUs, 8Gi and room for 10 Pods. A Pod web is on the virtual node, requests 1 CPU and could move to a local one.
type world struct {
	nodes   map[string]*corev1.Node
	pods    []*corev1.Pod
	pod     *corev1.Pod
	volumes Volumes
}

func newWorld() *world {
	w := &world{nodes: map[string]*corev1.Node{}}
	for name, zone := range map[string]string{"a": "x", "b": "y", "virtual": "z"} {
		w.nodes[name] = &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelTopologyZone: zone,
			}},
			Status: corev1.NodeStatus{
				Allocatable: list("4", "8Gi", "10"),
				Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		}
	}
	w.nodes["virtual"].Spec.Taints = []corev1.Taint{
		{Key: policy.ProviderTaintKey, Effect: corev1.TaintEffectNoSchedule},
	}
	w.pod = w.add("web", "virtual", "1")
	return w
}

func list(cpu, memory, pods string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		corev1.ResourcePods: resource.MustParse(pods),
	}
}

// add adds a Pod with a label of its own, and one of the application web.
func (w *world) add(name, node, cpu string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web", "name": name},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main"}}},
	}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	w.pods = append(w.pods, p)
	return p
}

func (w *world) ask() (name, why string) {
	var nodes []*corev1.Node
	for _, n := range w.nodes {
		nodes = append(nodes, n)
	}
	return NewCluster(nodes, w.pods).WithVolumes(w.volumes).Node(w.pod, func(n string) bool { return n != "virtual" })
}

func (w *world) main() *corev1.Container { return &w.pod.Spec.Containers[0] }

func selects(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func hostname(app string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: selects("app", app)}
}

func apart(terms ...corev1.PodAffinityTerm) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: terms,
	}}
}

func together(terms ...corev1.PodAffinityTerm) *corev1.Affinity {
	return &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
}

func spread(key string, maxSkew int32) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		TopologyKey: key, MaxSkew: maxSkew, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: selects("app", "web"),
	}
}

// claim gives the Pod a bound claim and its volume.
func (w *world) claim(change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)) {
	w.pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{volumehelpers.AnnBindCompleted: "yes"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			VolumeName: "pv", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	volume := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk"}},
	}}
	if change != nil {
		change(claim, volume)
	}
	w.volumes = Volumes{
		Claim:   func(string, string) *corev1.PersistentVolumeClaim { return claim },
		Volume:  func(string) *corev1.PersistentVolume { return volume },
		CSINode: func(string) *storagev1.CSINode { return w.driver(100) },
	}
}

func (w *world) driver(limit int32) *storagev1.CSINode {
	return &storagev1.CSINode{Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
		{Name: "disk", Allocatable: &storagev1.VolumeNodeResources{Count: &limit}},
	}}}
}

func TestNode(t *testing.T) {
	taint := corev1.Taint{Key: "team", Value: "ml", Effect: corev1.TaintEffectNoExecute}
	sidecar := corev1.ContainerRestartPolicyAlways
	ignore, honor := corev1.NodeInclusionPolicyIgnore, corev1.NodeInclusionPolicyHonor
	for name, tt := range map[string]struct {
		change func(*world)
		want   string // a node, or a part of why there is none
	}{
		"An empty cluster has room": {func(*world) {}, "a"},
		"There are only virtual nodes": {func(w *world) {
			delete(w.nodes, "a")
			delete(w.nodes, "b")
		}, "there is no local node"},
		"A cordoned node is left out": {func(w *world) {
			w.nodes["a"].Spec.Unschedulable = true
		}, "b"},
		"A node that is not Ready is left out": {func(w *world) {
			w.nodes["a"].Status.Conditions[0].Status = corev1.ConditionUnknown
		}, "b"},
		"A node that has never reported is left out": {func(w *world) {
			w.nodes["a"].Status.Conditions = nil
		}, "b"},
		"A node that is being deleted is left out": {func(w *world) {
			w.nodes["a"].DeletionTimestamp = &metav1.Time{}
		}, "b"},
		"A node under pressure is left out, even if the Pod tolerates its taint": {func(w *world) {
			w.nodes["a"].Status.Conditions = append(w.nodes["a"].Status.Conditions, corev1.NodeCondition{
				Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue,
			})
			w.pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, "b"},
		"A taint is not tolerated": {func(w *world) {
			w.nodes["a"].Spec.Taints = []corev1.Taint{taint}
		}, "b"},
		"A taint is tolerated": {func(w *world) {
			w.nodes["a"].Spec.Taints = []corev1.Taint{taint}
			w.pod.Spec.Tolerations = []corev1.Toleration{{Key: "team", Value: "ml"}}
		}, "a"},
		"A taint is tolerated for a minute only": {func(w *world) {
			w.nodes["a"].Spec.Taints = []corev1.Taint{taint}
			w.pod.Spec.Tolerations = []corev1.Toleration{{
				Key: "team", Value: "ml", Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(60)),
			}}
		}, "b"},
		"A taint that the scheduler only prefers to avoid": {func(w *world) {
			w.nodes["a"].Spec.Taints = []corev1.Taint{{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule}}
		}, "a"},
		"A node selector": {func(w *world) {
			w.pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "b"}
		}, "b"},
		"A node selector of no node": {func(w *world) { w.pod.Spec.NodeSelector = map[string]string{"disk": "ssd"} },
			"0 of 2 local nodes fit: 2 excluded by node selector"},
		"A required node affinity": {func(w *world) {
			terms := []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpNotIn, Values: []string{"x"}},
			}}}
			w.pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
			}}
		}, "b"},
		"A feature that no node declares": {func(w *world) {
			w.main().RestartPolicyRules = []corev1.ContainerRestartRule{
				{Action: corev1.ContainerRestartRuleActionRestartAllContainers},
			}
		}, "a feature that the node lacks"},
		"A feature that a node declares": {func(w *world) {
			w.main().RestartPolicyRules = []corev1.ContainerRestartRule{
				{Action: corev1.ContainerRestartRuleActionRestartAllContainers},
			}
			w.nodes["b"].Status.DeclaredFeatures = []string{"RestartAllContainersOnContainerExits"}
		}, "b"},

		"No CPU is left on one node": {func(w *world) { w.add("big", "a", "3500m") }, "b"},
		"No CPU is left on any node": {func(w *world) {
			w.add("one", "a", "3500m")
			w.add("two", "b", "4")
		}, "2 without room"},
		"Exactly enough CPU is left": {func(w *world) { w.add("big", "a", "3") }, "a"},
		"A finished Pod takes no room": {func(w *world) {
			w.add("big", "a", "4").Status.Phase = corev1.PodSucceeded
		}, "a"},
		"A terminating Pod takes room": {func(w *world) {
			w.add("big", "a", "4").DeletionTimestamp = &metav1.Time{}
		}, "b"},
		"A Pod that waits takes no room": {func(w *world) { w.add("big", "", "4") }, "a"},
		"A nominated Pod takes room": {func(w *world) {
			w.add("big", "", "4").Status.NominatedNodeName = "a"
		}, "b"},
		"A Pod on a node that is gone": {func(w *world) { w.add("big", "c", "4") }, "a"},
		"A sidecar counts": {func(w *world) {
			w.nodes["b"].Spec.Unschedulable = true
			w.pod.Spec.InitContainers = []corev1.Container{{
				Name: "proxy", RestartPolicy: &sidecar,
				Resources: corev1.ResourceRequirements{Requests: list("3500m", "0", "0")},
			}}
		}, "1 without room"},
		"An init container counts if it is the largest": {func(w *world) {
			w.pod.Spec.InitContainers = []corev1.Container{{
				Name: "init", Resources: corev1.ResourceRequirements{Requests: list("5", "0", "0")},
			}}
		}, "2 without room"},
		"Overhead counts": {func(w *world) {
			w.pod.Spec.Overhead = list("3500m", "0", "0")
		}, "2 without room"},
		"Resources of the Pod as a whole count": {func(w *world) {
			w.pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list("5", "0", "0")}
		}, "2 without room"},
		"A Pod that grows on its node counts with its larger size": {func(w *world) {
			big := w.add("big", "a", "1")
			big.Status.ContainerStatuses = []corev1.ContainerStatus{
				{Name: "main", AllocatedResources: list("3500m", "0", "0")},
			}
		}, "b"},
		"A Pod that shrinks on its node counts with its larger size": {func(w *world) {
			big := w.add("big", "a", "1")
			big.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "main", Resources: &corev1.ResourceRequirements{Requests: list("3500m", "0", "0")},
			}}
		}, "b"},
		"An extended resource that no node has": {func(w *world) {
			w.main().Resources.Requests["example.com/gpu"] = resource.MustParse("1")
		}, "2 without room"},
		"An extended resource that one node has": {func(w *world) {
			w.main().Resources.Requests["example.com/gpu"] = resource.MustParse("1")
			w.nodes["b"].Status.Allocatable["example.com/gpu"] = resource.MustParse("1")
		}, "b"},
		"The marker resource of Spillway is no resource of a node": {func(w *world) {
			w.main().Resources.Requests[policy.PlacementResource] = resource.MustParse("1")
		}, "a"},
		"Ephemeral storage": {func(w *world) {
			w.main().Resources.Requests[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
			w.nodes["b"].Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
		}, "b"},
		"The number of Pods of a node": {func(w *world) {
			for i := range 10 {
				w.add(fmt.Sprint("small-", i), "a", "")
			}
		}, "b"},
		"A host port in use": {func(w *world) {
			w.main().Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: "10.0.0.1"}}
			w.add("other", "a", "").Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		}, "b"},
		"A host port of another address": {func(w *world) {
			w.main().Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: "10.0.0.1"}}
			w.add("other", "a", "").Spec.Containers[0].Ports = []corev1.ContainerPort{
				{HostPort: 80, HostIP: "10.0.0.2"},
			}
		}, "a"},
		"A host port of another protocol": {func(w *world) {
			w.main().Ports = []corev1.ContainerPort{{HostPort: 80}}
			w.add("other", "a", "").Spec.Containers[0].Ports = []corev1.ContainerPort{
				{HostPort: 80, Protocol: corev1.ProtocolUDP},
			}
		}, "a"},

		"Scheduling gates": {func(w *world) {
			w.pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{}}
		}, "scheduling gates"},
		"ResourceClaims": {func(w *world) {
			w.pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{}}
		}, "ResourceClaims"},
		"A scheduling group": {func(w *world) { w.pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{} },
			"scheduling group"},

		"The Pod avoids others": {func(w *world) {
			w.pod.Spec.Affinity = apart(hostname("web"))
			w.add("other", "a", "")
		}, "b"},
		"The Pod avoids others of another namespace": {func(w *world) {
			w.pod.Spec.Affinity = apart(hostname("web"))
			w.add("other", "a", "").Namespace = "other"
		}, "a"},
		"The Pod avoids those of namespaces that may be any": {func(w *world) {
			w.pod.Spec.Affinity = apart(hostname("web"))
			w.pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].
				NamespaceSelector = selects("team", "shop")
			w.add("other", "a", "").Namespace = "other"
		}, "b"},
		"The Pod avoids its own zone, where it is now": {func(w *world) {
			w.pod.Spec.Affinity = apart(corev1.PodAffinityTerm{
				TopologyKey: corev1.LabelTopologyZone, LabelSelector: selects("app", "web"),
			})
			w.nodes["a"].Labels[corev1.LabelTopologyZone] = "z"
		}, "b"},
		"The Pod avoids a nominated one": {func(w *world) {
			w.pod.Spec.Affinity = apart(hostname("web"))
			w.add("other", "", "").Status.NominatedNodeName = "a"
		}, "b"},
		"Others avoid the Pod": {func(w *world) {
			w.add("other", "a", "").Spec.Affinity = apart(hostname("web"))
		}, "b"},
		"Others avoid the Pod in their zone": {func(w *world) {
			w.nodes["b"].Labels[corev1.LabelTopologyZone] = "x"
			w.add("other", "a", "").Spec.Affinity = apart(corev1.PodAffinityTerm{
				TopologyKey: corev1.LabelTopologyZone, LabelSelector: selects("app", "web"),
			})
		}, "2 excluded by Pod affinity or anti-affinity"},
		"Others avoid different Pods": {func(w *world) {
			w.add("other", "a", "").Spec.Affinity = apart(hostname("db"))
		}, "a"},
		"The Pod needs another": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("db"))
			w.add("db", "b", "").Labels["app"] = "db"
		}, "b"},
		"The Pod needs another that is terminating": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("db"))
			db := w.add("db", "b", "")
			db.Labels["app"], db.DeletionTimestamp = "db", &metav1.Time{}
		}, "excluded by Pod affinity"},
		"The Pod needs one that matches both terms": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("db"), corev1.PodAffinityTerm{
				TopologyKey: corev1.LabelHostname, LabelSelector: selects("name", "two"),
			})
			w.add("one", "a", "").Labels["app"] = "db"
			w.add("two", "b", "").Labels["app"] = "db"
		}, "b"},
		"The Pod needs its own kind, and it would be alone": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("web"))
			w.pods = nil
		}, "a"},
		"The Pod needs its own kind, and is still in the cloud": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("web"))
		}, "excluded by Pod affinity"},
		"The Pod needs its own kind": {func(w *world) {
			w.pod.Spec.Affinity = together(hostname("web"))
			w.add("other", "b", "")
		}, "b"},
		"The Pod needs another of a selected namespace": {func(w *world) {
			term := hostname("db")
			term.NamespaceSelector = selects("team", "shop")
			w.pod.Spec.Affinity = together(term)
		}, "namespaceSelector is not checked"},

		"Spread over nodes": {func(w *world) {
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread(corev1.LabelHostname, 1)}
			w.add("one", "a", "")
			w.nodes["virtual"].Labels = nil
		}, "b"},
		"Spread over nodes counts the virtual node as empty when the Pod is gone": {func(w *world) {
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread(corev1.LabelHostname, 1)}
			w.add("one", "a", "")
			w.add("two", "b", "")
		}, "2 excluded by topology spread constraints"},
		"Spread over nodes with a taint policy leaves the virtual node out": {func(w *world) {
			constraint := spread(corev1.LabelHostname, 1)
			constraint.NodeTaintsPolicy = &honor
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
			w.add("one", "a", "")
			w.add("two", "b", "")
		}, "a"},
		"Spread over selected nodes only": {func(w *world) {
			w.pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "a"}
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread(corev1.LabelHostname, 1)}
			w.add("one", "a", "")
		}, "a"},
		"Spread over all nodes, although not all are selected": {func(w *world) {
			constraint := spread(corev1.LabelHostname, 1)
			constraint.NodeAffinityPolicy = &ignore
			w.pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "a"}
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
			w.add("one", "a", "")
		}, "1 excluded by topology spread"},
		"Spread over more domains than there are": {func(w *world) {
			constraint := spread(corev1.LabelTopologyZone, 1)
			constraint.MinDomains = new(int32(4))
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
			w.add("one", "a", "")
			w.add("two", "b", "")
		}, "2 excluded by topology spread"},
		"Spread of Pods with the same revision": {func(w *world) {
			constraint := spread(corev1.LabelHostname, 1)
			constraint.MatchLabelKeys = []string{"revision"}
			w.pod.Labels["revision"] = "2"
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
			w.add("one", "a", "").Labels["revision"] = "1"
			w.add("two", "b", "").Labels["revision"] = "2"
		}, "a"},
		"Spread counts a nominated Pod": {func(w *world) {
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread(corev1.LabelHostname, 1)}
			w.add("one", "", "").Status.NominatedNodeName = "a"
		}, "b"},
		"Spread does not count a terminating Pod": {func(w *world) {
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread(corev1.LabelHostname, 1)}
			w.add("one", "a", "").DeletionTimestamp = &metav1.Time{}
		}, "a"},
		"Spread that may be uneven": {func(w *world) {
			constraint := spread(corev1.LabelHostname, 1)
			constraint.WhenUnsatisfiable = corev1.ScheduleAnyway
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
			w.add("one", "a", "")
			w.add("two", "a", "")
		}, "a"},
		"Spread over a key that one node lacks": {func(w *world) {
			w.nodes["b"].Labels["rack"] = "1"
			w.pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread("rack", 1)}
		}, "b"},

		"A bound claim of a volume for all nodes": {func(w *world) { w.claim(nil) }, "a"},
		"A claim, and volumes are not known": {func(w *world) {
			w.claim(nil)
			w.volumes = Volumes{}
		}, "not checked"},
		"A claim that waits for its first consumer": {func(w *world) {
			w.claim(func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { c.Spec.VolumeName = "" })
		}, "not bound"},
		"A claim that only one Pod at a time can use": {func(w *world) {
			w.claim(func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
				c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
			})
		}, "in use"},
		"A claim that no Pod uses any more": {func(w *world) {
			w.claim(func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
				c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
			})
			w.pods = nil
		}, "a"},
		"A volume that is on one node": {func(w *world) {
			w.claim(func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{}}
				v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
						{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}},
					}}},
				}}
			})
		}, "b"},
		"A volume of other zones": {func(w *world) {
			w.claim(func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Labels = map[string]string{corev1.LabelFailureDomainBetaZone: "w__y"}
			})
		}, "b"},
		"A node that can attach no more volumes": {func(w *world) {
			w.claim(nil)
			w.nodes["a"].Status.VolumesAttached = []corev1.AttachedVolume{{}, {}}
			w.volumes.CSINode = func(string) *storagev1.CSINode { return w.driver(2) }
		}, "b"},
		"A node without the driver": {func(w *world) {
			w.claim(nil)
			w.volumes.CSINode = func(node string) *storagev1.CSINode {
				if node == "b" {
					return w.driver(2)
				}
				return &storagev1.CSINode{}
			}
		}, "b"},
		"A volume that is created for the Pod": {func(w *world) {
			w.pod.Spec.Volumes = []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			}
		}, "generic ephemeral volume"},
		"A disk of a cloud provider": {func(w *world) {
			w.pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{
				AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{},
			}}}
		}, "attached to one node"},
		"Volumes that every node has": {func(w *world) {
			w.pod.Spec.Volumes = []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
			}
		}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			tt.change(w)
			got, why := w.ask()
			if len(tt.want) == 1 {
				assert.Equal(t, tt.want, got, why)
				assert.Empty(t, why)
				return
			}
			assert.Empty(t, got)
			assert.Contains(t, why, tt.want)
			assert.NotContains(t, strings.TrimSuffix(why, "."), ". ", "it is one sentence")
		})
	}
}

func TestReservedRoomIsTaken(t *testing.T) {
	w := newWorld()
	delete(w.nodes, "b")
	w.main().Resources.Requests[corev1.ResourceCPU] = resource.MustParse("3")
	c := NewCluster([]*corev1.Node{w.nodes["a"], w.nodes["virtual"]}, w.pods)
	local := func(n string) bool { return n == "a" }
	name, _ := c.Node(w.pod, local)
	require.Equal(t, "a", name)
	c.Reserve(w.pod, name)
	_, why := c.Node(w.pod, local)
	assert.Equal(t, "0 of 1 local nodes fit: 1 without room for what the Pod requests", why)
}

// TestAQuestionLooksAtThePodsThatItsRulesReferTo: asking about a Pod with affinity must not cost a look at all Pods.
func TestAQuestionLooksAtThePodsThatItsRulesReferTo(t *testing.T) {
	w := newWorld()
	for i := range 1000 {
		w.add(fmt.Sprint("other-", i), "a", "").Labels["app"] = "other"
	}
	w.nodes["a"].Status.Allocatable[corev1.ResourcePods] = resource.MustParse("2000")
	w.add("near", "a", "")
	c := NewCluster([]*corev1.Node{w.nodes["a"]}, w.pods)
	selector, err := metav1.LabelSelectorAsSelector(selects("app", "web"))
	require.NoError(t, err)
	assert.Len(t, c.index().candidates(selector), 1, "not the one on a node that is not in the cluster")
}
