package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Keys that users write. They come from the documents of the systems that Spillway replaces (docs/sources.md) and are
// used verbatim.
const (
	// SwitchKey turns bursting on and off: an annotation of the Pod template (local switch) and a key of the ConfigMap
	// SwitchConfigMapName (global switch). Source: TKE Resilience.
	SwitchKey = "AUTO_SCALE_EKS"
	// LocalReplicasAnnotation is how many replicas of one revision stay on local nodes: a number (source: TKE
	// Resilience), or a percentage of the revision's replicas, such as "30%" (Shares).
	LocalReplicasAnnotation = "LOCAL_REPLICAS"
	// HostPathReplacementAnnotation says what replaces hostPath volumes in the cloud. Source: CCE bursting.
	HostPathReplacementAnnotation = "coordinator.cci.io/hostpath-replacement"
	// BurstLabel sets the burst mode of a Pod, on the Pod or on its workload. Source: CCE bursting.
	BurstLabel = "virtual-kubelet.io/burst-to-cci"
	// BurstLabelAlias is the name of BurstLabel in CCI 2.0. Source: CCI manual cci_01_0025.
	BurstLabelAlias = "bursting.cci.io/burst-to-cci"
	// NamespaceEnforceLabel with the value NamespaceEnforceValue sends every Pod of a namespace to the cloud. Source:
	// ACK virtual nodes.
	NamespaceEnforceLabel = "virtual-node-affinity-injection"
	// NamespaceEnforceValue is the only value of NamespaceEnforceLabel that has an effect.
	NamespaceEnforceValue = "enabled"
	// ResolvConfAnnotation on a virtual node replaces the resolv.conf of all its Pods. Source: TKE Resilience.
	ResolvConfAnnotation = "eks.tke.cloud.tencent.com/resolv-conf"
	// FixedIPAnnotation marks a Pod with a fixed IP address, which the cloud does not support. Source: TKE Resilience.
	FixedIPAnnotation = "tke.cloud.tencent.com/vpc-ip-claim-delete-policy"
)

// The ConfigMap of the global switch. Source: TKE Resilience.
const (
	SwitchConfigMapNamespace = "kube-system"
	SwitchConfigMapName      = "eks-config"
	// WayHomeSwitch is the key of that ConfigMap that stops the way home for the whole cluster, with the value
	// "false" (ParseWayHomeSwitch).
	WayHomeSwitch = "WAY_HOME"
)

// PodAnnotations returns the annotations of Spillway that users set on Pods and on Pod templates. Admission validates
// each of them. Elsewhere they have no effect.
func PodAnnotations() []string {
	return []string{
		LocalReplicasAnnotation, SwitchKey, HostPathReplacementAnnotation, OnSoldOutAnnotation, ServicesAnnotation,
		ReservedPortsAnnotation, LocalMinAnnotation, LocalMaxAnnotation, CloudMaxAnnotation, BurstAfterAnnotation,
		WayHomeAnnotation,
	}
}

// ShareAnnotations returns the annotations that say how many replicas of a revision run where (Shares). A Pod that has
// one of them, or takes one from its workload or its namespace, is managed.
func ShareAnnotations() []string {
	return []string{LocalReplicasAnnotation, LocalMinAnnotation, LocalMaxAnnotation, CloudMaxAnnotation}
}

// InheritedAnnotations returns the annotations that have an effect on workloads and namespaces too. Of each, the
// nearest counts: that of the Pod, else that of its nearest owner that has it, else that of its namespace.
func InheritedAnnotations() []string {
	return append(ShareAnnotations(), BurstAfterAnnotation, WayHomeAnnotation)
}

// WrittenAnnotations returns the annotations that the programs of Spillway set on Pods.
func WrittenAnnotations() []string {
	return []string{
		LocalSlotAnnotation, CloudSlotAnnotation, KeptLocalAnnotation, RequeueAnnotation, AddedAffinityAnnotation,
		TraceAnnotation, CostAnnotation, InheritedAnnotation, MovingHomeAnnotation, DrainBackAnnotation,
	}
}

// What distinguishes a virtual node from a local node.
const (
	// NodeTypeLabel with the value NodeTypeVirtual marks a virtual node.
	NodeTypeLabel   = "type"
	NodeTypeVirtual = "virtual-kubelet"
	// TrustedNodeLabel with the value TrustedNodeValue marks a virtual node of Spillway. Other systems use
	// NodeTypeLabel too, and a kubelet can give its own Node any label without the prefix
	// node-restriction.kubernetes.io/ (admission plug-in NodeRestriction).
	TrustedNodeLabel = "node-restriction.kubernetes.io/spillway"
	TrustedNodeValue = "virtual-node"
	// LiqoNodeLabel with the value LiqoNodeVirtual marks a node of Liqo, which stands for another cluster. Versions of
	// Liqo before July 2026 do not set NodeTypeLabel. Source: Liqo, pkg/consts/namespace_mapping.go.
	LiqoNodeLabel   = "liqo.io/type"
	LiqoNodeVirtual = "virtual-node"
	// ProviderTaintKey, with the value ProviderTaintValue and the effect NoSchedule, repels Pods that may not burst.
	ProviderTaintKey   = "virtual-kubelet.io/provider"
	ProviderTaintValue = "huawei"
)

// Keys of Spillway, for which the replaced systems have none.
const (
	// Prefix begins all of them.
	Prefix = "spillway.io/"
	// PlacementResource is the marker resource. The scheduler calls the extender for Pods that request it
	// (managedResources of the extender's entry). The webhook adds the request, the scheduler and the kubelet ignore
	// it, vnode removes it.
	PlacementResource corev1.ResourceName = "spillway.io/placement"
	// LocalSlotAnnotation records that the Pod has a slot of its local quota. The extender writes it before it allows
	// the Pod to run on a local node, so that it knows the slot after a restart. Its value is the UID of the Pod: a
	// copied manifest or a template never has a valid slot.
	LocalSlotAnnotation = "spillway.io/local-slot"
	// CloudSlotAnnotation records that the Pod counts towards the cloud limits of its namespace
	// (CloudLimitsAnnotation). The extender writes it before it allows the Pod to run on a virtual node. Its value is
	// the UID of the Pod and the size that counts, such as "6d2c…/0.50_1.0" (CloudSlot).
	CloudSlotAnnotation = "spillway.io/cloud-slot"
	// CloudLimitsAnnotation on a Namespace says how much its Pods may use in the cloud together, such as
	// "pods=50,cpu=200,memory=400Gi". Tenants cannot write it: they do not own their Namespace object.
	CloudLimitsAnnotation = "spillway.io/cloud-limits"
	// AllowOversizeAnnotation on a Namespace says whether its Pods may request a larger size than they need
	// (FlavorAnnotation): "true" or "false". Without it the configuration decides (Config.AllowOversize).
	AllowOversizeAnnotation = "spillway.io/allow-oversize"
	// AllowCloudAnnotationsAnnotation on a Namespace lists annotations that its Pods may have in the cloud besides
	// those that the configuration allows, such as "yangtse.io/pod-with-eip,yangtse.io/eip-charge-mode=traffic".
	AllowCloudAnnotationsAnnotation = "spillway.io/allow-cloud-annotations"
	// KeptLocalAnnotation says why a Pod stays on local nodes although it, its workload or its namespace requests that
	// it bursts: the reason and the message of a restriction. The webhook sets it when the Pod is created.
	KeptLocalAnnotation = "spillway.io/kept-local"
	// RequeueAnnotation is changed by the extender to make the scheduler retry a Pod that the extender refused.
	RequeueAnnotation = "spillway.io/wake"
	// AddedAffinityAnnotation on a Pod says that admission added a requirement about virtual nodes to the node affinity
	// of the Pod, and with which operator (In or NotIn). Admission replaces the requirement if it is called again and
	// decides differently.
	AddedAffinityAnnotation = "spillway.io/added-node-affinity"
	// TraceAnnotation on a managed Pod is the span of its admission, in the format of the header traceparent of W3C
	// Trace Context. Admission writes it while tracing is on and the span is sampled.
	TraceAnnotation = "spillway.io/traceparent"
	// CostAnnotation is what a Pod has cost in the cloud, by the configured prices, such as "0.135000 CNY". vnode
	// writes it together with the end of the Pod.
	CostAnnotation = "spillway.io/cost"
	// LocalMinAnnotation is how many replicas of a revision never burst, a number or a percentage: they wait for room
	// on local nodes (Shares).
	LocalMinAnnotation = "spillway.io/local-min"
	// LocalMaxAnnotation is how many replicas of a revision run on local nodes at most, a number or a percentage
	// (Shares).
	LocalMaxAnnotation = "spillway.io/local-max"
	// CloudMaxAnnotation is how many replicas of a revision run in the cloud at most, a number or a percentage
	// (Shares).
	CloudMaxAnnotation = "spillway.io/cloud-max"
	// BurstAfterAnnotation is how long after its creation a Pod waits for room on local nodes before it may burst, such
	// as "90s" (ParseBurstAfter).
	BurstAfterAnnotation = "spillway.io/burst-after"
	// WayHomeAnnotation says whether cloud Pods return when there is room on local nodes: "true" or "false"
	// (ParseWayHome).
	WayHomeAnnotation = "spillway.io/way-home"
	// MovingHomeAnnotation on a cloud Pod says that its ReplicaSet has released it, and that it is evicted once its
	// successor is Ready on a local node (MovingHome). The extender writes it together with the change that releases
	// the Pod, so that a restart forgets no move.
	MovingHomeAnnotation = "spillway.io/moving-home"
	// DrainBackAnnotation on a cloud Pod is when "kubectl spillway drain-back" asked that the Pod returns to local
	// nodes, in RFC 3339. It has an effect for a day, and on the Pod itself only: one that is older than the Pod is
	// from a template.
	DrainBackAnnotation = "spillway.io/drain-back"
	// InheritedAnnotation on a Pod lists the annotations that admission has copied from a workload of the Pod
	// (InheritedAnnotations), such as "LOCAL_REPLICAS,spillway.io/local-min". When those of the workload change,
	// admission changes the copies too.
	InheritedAnnotation = "spillway.io/inherited"
	// LocalReplicasCondition is the type of a condition of a Pod. It is False if LocalReplicasAnnotation has no effect
	// because the Pod belongs to a scheduling group. Other Pods do not have the condition.
	LocalReplicasCondition corev1.PodConditionType = "spillway.io/LocalReplicas"
	// OnSoldOutAnnotation on a Pod says what happens to it on a virtual node whose cloud is sold out (OnSoldOut).
	OnSoldOutAnnotation = "spillway.io/on-sold-out"
	// ServicesAnnotation on a Pod says how it reaches Services in the cloud (ServicesMode): "off", "routed", "proxy" or
	// "kube-proxy". Without it the virtual node decides (pods.services).
	ServicesAnnotation = "spillway.io/services"
	// ReservedPortsAnnotation on a Pod lists ports that its containers listen on, besides their containerPorts, such as
	// "8080,9090". With the mode "proxy" the sidecar does not listen on them.
	ReservedPortsAnnotation = "spillway.io/reserved-ports"
	// ServicesContainer is the name of the sidecar of the modes "proxy" and "kube-proxy". Only the cloud Pod has it.
	ServicesContainer = "spillway-proxy"
	// SoldOutUntilAnnotation is set on a locked virtual node: the time when the lock ends, in RFC 3339. An
	// unschedulable node without it was cordoned by a user and stays unschedulable.
	SoldOutUntilAnnotation = "spillway.io/sold-out-until"
	// SoldOutLockAnnotation on a virtual node is how long its last lock lasts or lasted, such as 2m0s. The next one
	// lasts twice as long. It is removed when a Pod finds room.
	SoldOutLockAnnotation = "spillway.io/sold-out-lock"
	// UninstallLabel is set on the ConfigMap that helm uninstall deletes first. Unless its value is UninstallForced,
	// admission rejects the deletion while Pods run in the cloud.
	UninstallLabel = "spillway.io/uninstall"
	// UninstallGuarded is the value of UninstallLabel after the installation.
	UninstallGuarded = "guarded"
	// UninstallForced is the value of UninstallLabel with which the deletion is allowed although Pods run in the cloud.
	UninstallForced = "forced"
	// DeletionCostAnnotation ranks Pods for scale-in. Spillway sets it on cloud Pods without a value (deletionCost in
	// the configuration of admission).
	DeletionCostAnnotation = "controller.kubernetes.io/pod-deletion-cost"
	// LocaltimePath is the only hostPath that the cloud supports: it means the time zone of the node. Source: CCE
	// bursting.
	LocaltimePath = "/etc/localtime"
)

// The identity of cloud Pods: which Pod of which cluster each represents. The annotations define the identity; the name
// and the labels do not.
const (
	// CloudClusterKey is the id of the cluster: an annotation, and a label for users and for cleaning up after a
	// cluster. Virtual nodes have it as a label too.
	CloudClusterKey = "spillway.io/cluster-id"
	// CloudNodeAnnotation is the name of the virtual node to which the Pod is bound.
	CloudNodeAnnotation = "spillway.io/node"
	// CloudNamespaceAnnotation is the namespace of the Pod.
	CloudNamespaceAnnotation = "spillway.io/pod-namespace"
	// CloudNameAnnotation is the name of the Pod.
	CloudNameAnnotation = "spillway.io/pod-name"
	// CloudUIDAnnotation is the UID of the Pod.
	CloudUIDAnnotation = "spillway.io/pod-uid"
	// CloudOwnerLabel selects the cloud Pods of one virtual node. Its value is a hash, since the name of a node may be
	// too long for a label.
	CloudOwnerLabel = "spillway.io/owner"
	// CloudSizeAnnotation is the size of a cloud Pod in CCI 1.0, which has no annotation for it. In CCI 2.0 it is
	// FlavorAnnotation.
	CloudSizeAnnotation = "spillway.io/size"
	// CloudFileAnnotation, followed by a number, is the content of a file of the downward API of a cloud Pod.
	CloudFileAnnotation = "spillway.io/file-"
)

// The identity of mirrors: annotations that name the object of which each is a copy.
const (
	// CloudSourceKindAnnotation is the kind of the object, such as ConfigMap.
	CloudSourceKindAnnotation = "spillway.io/source-kind"
	// CloudSourceNamespaceAnnotation is the namespace of the object.
	CloudSourceNamespaceAnnotation = "spillway.io/source-namespace"
	// CloudSourceNameAnnotation is the name of the object.
	CloudSourceNameAnnotation = "spillway.io/source-name"
	// CloudSourceUIDAnnotation is the UID of the object.
	CloudSourceUIDAnnotation = "spillway.io/source-uid"
	// CloudSourceVolumeAnnotation is the handle of the volume of a claim.
	CloudSourceVolumeAnnotation = "spillway.io/source-volume"
	// CloudRenewAnnotation is the time when a mirror with tokens must be renewed.
	CloudRenewAnnotation = "spillway.io/renew-at"
)

// What "vnode doctor" creates in the cloud.
const (
	// DoctorLabel is on every object that "vnode doctor" creates. Its value identifies the run.
	DoctorLabel = "spillway.io/doctor"
	// DoctorUntilAnnotation is the time, in RFC 3339, when the run that has created the object is over. What is left
	// then is removed by the next run.
	DoctorUntilAnnotation = "spillway.io/doctor-until"
)

// ProviderToleration returns the toleration that allows a Pod to run on virtual nodes.
func ProviderToleration() corev1.Toleration {
	return corev1.Toleration{
		Key: ProviderTaintKey, Operator: corev1.TolerationOpEqual, Value: ProviderTaintValue,
		Effect: corev1.TaintEffectNoSchedule,
	}
}

// ProviderTaint returns the taint of every virtual node.
func ProviderTaint() corev1.Taint {
	return corev1.Taint{Key: ProviderTaintKey, Value: ProviderTaintValue, Effect: corev1.TaintEffectNoSchedule}
}

// VirtualNodeLabels returns the labels by which a virtual node of Spillway is recognized.
func VirtualNodeLabels() map[string]string {
	return map[string]string{NodeTypeLabel: NodeTypeVirtual, TrustedNodeLabel: TrustedNodeValue}
}

// IsVirtualNode reports whether a node claims to represent a cloud or another cluster, by its labels: that of Spillway
// or of another system.
func IsVirtualNode(labels map[string]string) bool {
	return labels[NodeTypeLabel] == NodeTypeVirtual || labels[LiqoNodeLabel] == LiqoNodeVirtual
}

// IsOurNode reports whether a node is a virtual node of Spillway.
func IsOurNode(labels map[string]string) bool {
	return labels[NodeTypeLabel] == NodeTypeVirtual && labels[TrustedNodeLabel] == TrustedNodeValue
}

// NeedsPlacement reports whether the scheduler calls the extender for the Pod (PlacementResource).
func NeedsPlacement(spec *corev1.PodSpec) bool {
	for i := range spec.Containers {
		if _, ok := spec.Containers[i].Resources.Requests[PlacementResource]; ok {
			return true
		}
	}
	return false
}

// AvoidsVirtualNodes reports whether the Pod's node affinity excludes virtual nodes.
func AvoidsVirtualNodes(spec *corev1.PodSpec) bool {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return false
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return false
	}
	// Terms are alternatives: a term without the requirement admits virtual nodes.
	return !slices.ContainsFunc(required.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(term.MatchExpressions, excludesVirtualNodes)
	})
}

// ToleratesProvider reports whether the tolerations of the Pod allow it to run on a virtual node.
func ToleratesProvider(spec *corev1.PodSpec) bool {
	for _, t := range spec.Tolerations {
		if t.Effect != "" && t.Effect != corev1.TaintEffectNoSchedule {
			continue
		}
		exists := t.Operator == corev1.TolerationOpExists
		equal := (t.Operator == corev1.TolerationOpEqual || t.Operator == "") && t.Value == ProviderTaintValue
		if (t.Key == "" && exists) || (t.Key == ProviderTaintKey && (exists || equal)) {
			return true
		}
	}
	return false
}
