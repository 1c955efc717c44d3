package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Keys that users write. They come from the documents of the systems that Spillway replaces and are used verbatim.
const (
	// SwitchKey turns bursting on and off: an annotation of the Pod template (local switch) and a key of the
	// ConfigMap SwitchConfigMapName (global switch). Source: seed 0, "Workload resilience".
	SwitchKey = "AUTO_SCALE_EKS"
	// LocalReplicasAnnotation is the number of replicas of one revision that stay on local nodes. Source: seed 0.
	LocalReplicasAnnotation = "LOCAL_REPLICAS"
	// HostPathReplacementAnnotation says what becomes of hostPath volumes in the cloud. Source: seed 2.
	HostPathReplacementAnnotation = "coordinator.cci.io/hostpath-replacement"
	// BurstLabel chooses the burst mode on a Pod or on its workload. Source: seed 2.
	BurstLabel = "virtual-kubelet.io/burst-to-cci"
	// BurstLabelAlias is what CCI 2.0 calls BurstLabel. Source: CCI manual cci_01_0025.
	BurstLabelAlias = "bursting.cci.io/burst-to-cci"
	// NamespaceEnforceLabel with the value NamespaceEnforceValue sends every Pod of a namespace to the cloud. Source: seed
	// 4.
	NamespaceEnforceLabel = "virtual-node-affinity-injection"
	// NamespaceEnforceValue is the only value of NamespaceEnforceLabel that means something.
	NamespaceEnforceValue = "enabled"
	// ResolvConfAnnotation on a virtual node replaces the resolv.conf of all its Pods. Source: seed 0.
	ResolvConfAnnotation = "eks.tke.cloud.tencent.com/resolv-conf"
	// FixedIPAnnotation marks a Pod that keeps its IP address, which the cloud cannot give it. Source: seed 0.
	FixedIPAnnotation = "tke.cloud.tencent.com/vpc-ip-claim-delete-policy"
)

// Where the global switch is read. Source: seed 0.
const (
	SwitchConfigMapNamespace = "kube-system"
	SwitchConfigMapName      = "eks-config"
)

// How a virtual node is told from a local one.
const (
	// NodeTypeLabel with the value NodeTypeVirtual marks a virtual node.
	NodeTypeLabel   = "type"
	NodeTypeVirtual = "virtual-kubelet"
	// ProviderTaintKey, with the value ProviderTaintValue and the effect NoSchedule, keeps Pods that may not burst away.
	ProviderTaintKey   = "virtual-kubelet.io/provider"
	ProviderTaintValue = "huawei"
)

// Keys of our own, made only where the seeds have none.
const (
	// PlacementResource is requested by the Pods that the scheduler must ask the extender about (managedResources of its
	// extender entry). The webhook adds it, the scheduler and the kubelet ignore it, vnode strips it.
	PlacementResource corev1.ResourceName = "spillway.io/placement"
	// LocalSlotAnnotation is written by the extender before it lets a Pod with a quota through to local nodes: a slot of
	// the quota is this Pod's, also after a restart of the extender. Its value is the Pod's own UID, so that a copied
	// manifest or a template never brings a slot along.
	LocalSlotAnnotation = "spillway.io/local-slot"
	// RequeueAnnotation is changed by the extender to make the scheduler retry a Pod that the extender refused.
	RequeueAnnotation = "spillway.io/wake"
	// LocalReplicasCondition is the type of a condition of a Pod: False where its scheduling group does not let
	// LocalReplicasAnnotation be kept. Other Pods have none.
	LocalReplicasCondition corev1.PodConditionType = "spillway.io/LocalReplicas"
	// OnSoldOutAnnotation on a Pod says what becomes of it when it is on a virtual node whose cloud is sold out
	// (OnSoldOut).
	OnSoldOutAnnotation = "spillway.io/on-sold-out"
	// SoldOutUntilAnnotation is on a virtual node that is locked: when the lock ends, RFC 3339. Without it an
	// unschedulable node was cordoned by somebody else, and stays so.
	SoldOutUntilAnnotation = "spillway.io/sold-out-until"
	// UninstallLabel is on the ConfigMap that helm uninstall deletes first. Its value UninstallGuarded, or any but
	// UninstallForced, has admission refuse that while Pods run in the cloud.
	UninstallLabel   = "spillway.io/uninstall"
	UninstallGuarded = "guarded"
	UninstallForced  = "forced"
	// DeletionCostAnnotation ranks Pods for scale-in. Spillway writes CloudDeletionCost on cloud Pods without a value.
	DeletionCostAnnotation = "controller.kubernetes.io/pod-deletion-cost"
	CloudDeletionCost      = "-100"
	// LocaltimePath is the one hostPath that runs in the cloud: it stands for the node's time zone. Source: seed 2.
	LocaltimePath = "/etc/localtime"
)

// The identity of what Spillway makes in the cloud: which Pod of which cluster a cloud Pod is. The annotations, and not
// its name or its labels, are what counts.
const (
	// CloudClusterKey is the id of the cluster: an annotation, and a label for people and for cleaning up after a cluster.
	// As a label of a Node it says that the virtual node is Spillway's: other systems use NodeTypeLabel too.
	CloudClusterKey          = "spillway.io/cluster-id"
	CloudNodeAnnotation      = "spillway.io/node"
	CloudNamespaceAnnotation = "spillway.io/pod-namespace"
	CloudNameAnnotation      = "spillway.io/pod-name"
	CloudUIDAnnotation       = "spillway.io/pod-uid"
	// CloudOwnerLabel selects the cloud Pods of one virtual node: its value is a hash, for node names may be too long for
	// one.
	CloudOwnerLabel = "spillway.io/owner"
	// CloudFileAnnotation, with a number after it, holds on a cloud Pod what a file of the downward API shows.
	CloudFileAnnotation = "spillway.io/file-"
)

// The identity of copies in the cloud: annotations that say what each is a copy of.
const (
	CloudSourceKindAnnotation      = "spillway.io/source-kind"
	CloudSourceNamespaceAnnotation = "spillway.io/source-namespace"
	CloudSourceNameAnnotation      = "spillway.io/source-name"
	CloudSourceUIDAnnotation       = "spillway.io/source-uid"
	// CloudSourceVolumeAnnotation is the handle of the volume behind a claim.
	CloudSourceVolumeAnnotation = "spillway.io/source-volume"
	// CloudRenewAnnotation is when a copy that holds tokens is due to be renewed.
	CloudRenewAnnotation = "spillway.io/renew-at"
)

// ProviderToleration lets a Pod onto virtual nodes.
func ProviderToleration() corev1.Toleration {
	return corev1.Toleration{
		Key: ProviderTaintKey, Operator: corev1.TolerationOpEqual, Value: ProviderTaintValue, Effect: corev1.TaintEffectNoSchedule,
	}
}

// ProviderTaint is the taint of every virtual node.
func ProviderTaint() corev1.Taint {
	return corev1.Taint{Key: ProviderTaintKey, Value: ProviderTaintValue, Effect: corev1.TaintEffectNoSchedule}
}

// IsVirtualNode tells whether a node stands for the cloud, by its labels.
func IsVirtualNode(labels map[string]string) bool { return labels[NodeTypeLabel] == NodeTypeVirtual }

// IsOurNode tells whether a node is a virtual node of Spillway's own.
func IsOurNode(labels map[string]string) bool {
	return IsVirtualNode(labels) && labels[CloudClusterKey] != ""
}

// NeedsPlacement tells whether the scheduler asks the extender about the Pod (PlacementResource).
func NeedsPlacement(spec *corev1.PodSpec) bool {
	for i := range spec.Containers {
		if _, ok := spec.Containers[i].Resources.Requests[PlacementResource]; ok {
			return true
		}
	}
	return false
}

// AvoidsVirtualNodes tells whether the Pod's node affinity keeps it off virtual nodes.
func AvoidsVirtualNodes(spec *corev1.PodSpec) bool {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	// Terms are alternatives: one that says nothing about it lets the Pod there.
	return !slices.ContainsFunc(spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
			return r.Key == NodeTypeLabel && r.Operator == corev1.NodeSelectorOpNotIn && slices.Contains(r.Values, NodeTypeVirtual)
		})
	})
}

// ToleratesProvider tells whether the Pod may be placed on a virtual node as far as its tolerations go.
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
