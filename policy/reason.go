package policy

// Reason is a constant CamelCase word for why a Pod is placed where it is. It is the value of metric labels, the reason
// of Events, and the name of a rule in the configuration. The Message that comes with it says what would change it.
//
// The comment of each is its section of docs/reference/reasons.md: what it means, and what to do.
type Reason string

// Why a Pod may, must or must not burst.
const (
	// ReasonSwitchOn: the global or local switch allows bursting and no burst label says otherwise. What to do:
	// nothing. To keep the Pod on local nodes, set the burst label off.
	ReasonSwitchOn Reason = "SwitchOn"
	// ReasonSwitchOff: the global switch is off or malformed and the local one is not on. What to do: set the switch to
	// true in ConfigMap kube-system/eks-config (an administrator), or on the Pod template.
	ReasonSwitchOff Reason = "SwitchOff"
	// ReasonLabelOff: the burst label is off. The Pod runs on local nodes only. What to do: remove the label of the Pod
	// template or its workload, or set it to localPrefer, and let the Pods be created again.
	ReasonLabelOff Reason = "LabelOff"
	// ReasonLabelEnforce: the burst label is enforce. The Pod runs on virtual nodes only. What to do: nothing. To let
	// the Pods run on local nodes too, set the label to localPrefer.
	ReasonLabelEnforce Reason = "LabelEnforce"
	// ReasonLabelLocalPrefer: the burst label is localPrefer. The Pod bursts only if no local node fits. What to do:
	// nothing. To run the Pods in the cloud only, set the label to enforce.
	ReasonLabelLocalPrefer Reason = "LabelLocalPrefer"
	// ReasonLabelAuto: the burst label is auto. The scores of the scheduler decide. What to do: nothing. To try local
	// nodes first, set the label to localPrefer.
	ReasonLabelAuto Reason = "LabelAuto"
	// ReasonNamespaceEnforce: all Pods of the namespace run on virtual nodes only. What to do: nothing. A burst label
	// of the workload overrides that of the namespace.
	ReasonNamespaceEnforce Reason = "NamespaceEnforce"
	// ReasonInvalid: a key of the Pod is malformed. The Pod stays on local nodes until the key is corrected. What to
	// do: correct the key in the Pod template. The message has its value, and what would be right.
	ReasonInvalid Reason = "InvalidPolicy"
	// ReasonSchedulingGroup: the Pod has a local quota and belongs to a scheduling group, for which no quota can be
	// kept. It stays on local nodes. What to do: remove LOCAL_REPLICAS or the scheduling group.
	ReasonSchedulingGroup Reason = "SchedulingGroup"
	// ReasonCloudForbidden: the namespace may not use the cloud. The Pod stays on local nodes. What to do: an
	// administrator can raise or remove the limits of the namespace (spillway.io/cloud-limits).
	ReasonCloudForbidden Reason = "CloudForbidden"
	// ReasonInvalidNamespace: an annotation of the namespace is malformed. Its Pods stay on local nodes until an
	// administrator corrects it. What to do: an administrator must correct the annotation that the message names.
	ReasonInvalidNamespace Reason = "InvalidNamespacePolicy"
)

// The restrictions: why a Pod can never run in the cloud. Each is the name of a rule that the configuration can
// disable.
const (
	ReasonDaemonSet          Reason = "DaemonsetForbidden"
	ReasonProtectedNamespace Reason = "ProtectedNamespace"
	ReasonLocalPortRange     Reason = "LocalPortRange"
	ReasonReservedPort       Reason = "ReservedPort"
	ReasonProbePort          Reason = "ProbePort"
	ReasonFixedIP            Reason = "FixedIP"
	ReasonHostPath           Reason = "HostPath"
	ReasonVolumeKind         Reason = "VolumeKind"
	ReasonPersistentVolume   Reason = "PersistentVolumeKind"
	ReasonEmptyDirSubPath    Reason = "EmptyDirSubPath"
	ReasonEmptyDirSizeLimit  Reason = "EmptyDirSizeLimit"
	ReasonHostNamespace      Reason = "HostNamespace"
	ReasonPrivileged         Reason = "Privileged"
	ReasonGRPCProbe          Reason = "GRPCProbe"
	ReasonNoFlavor           Reason = "NoFlavor"
	ReasonOversizedFlavor    Reason = "OversizedFlavor"
	ReasonBlockDevice        Reason = "BlockDevice"
	ReasonDynamicResource    Reason = "DynamicResource"
	ReasonRestartRules       Reason = "RestartRules"
	ReasonSupplementalGroups Reason = "SupplementalGroupsPolicy"
	ReasonCCI1               Reason = "NotInCCI1"
	ReasonVariableSource     Reason = "VariableSource"
	ReasonEphemeralStorage   Reason = "EphemeralStorage"
	ReasonExtendedResource   Reason = "ExtendedResource"
	ReasonPodAffinity        Reason = "PodAffinity"
	ReasonTopologySpread     Reason = "TopologySpread"
	ReasonNodeSelector       Reason = "NodeSelector"
)

// Reasons of Events that are not reasons of a decision.
const (
	// ReasonBurstAllowed: the Pod tolerates virtual nodes from now on. What to do: nothing. The scheduler tries the Pod
	// again.
	ReasonBurstAllowed Reason = "BurstAllowed"
	// ReasonWebhookMissed: the Pod was created while the webhook was down, and lacks fields that cannot be added later.
	// What to do: delete the Pod, so that it is created again.
	ReasonWebhookMissed Reason = "WebhookMissed"
	// ReasonNotCounted: the namespace has cloud limits, or the Pod has shares with spillway.io/local-min or
	// spillway.io/cloud-max, and the extender has not counted the Pod, or does not count it because the Pod does not
	// request it. The Pod does not run in the cloud until it is recreated. What to do: delete the Pod, so that it is
	// created again. Give a Pod without a controller the burst label localPrefer.
	ReasonNotCounted Reason = "NotCounted"
	// ReasonOtherScheduler: the scheduler that the Pod names does not call the extender, so neither local quotas nor
	// limits of namespaces can be kept for the Pod. What to do: remove schedulerName. If that scheduler calls the
	// extender, an administrator adds it to otherSchedulerNames of admission.
	ReasonOtherScheduler Reason = "OtherScheduler"
	// ReasonKeptLocal: the Pod tolerates every taint and was not allowed to burst when it was created. The webhook gave
	// it node affinity against virtual nodes, so it stays on local nodes until it is recreated. What to do: delete the
	// Pod, so that it is created again.
	ReasonKeptLocal Reason = "KeptLocal"
)

// ReasonUnmanaged: the Pod has no key of Spillway, and the extender lets the scheduler place it. Only a scheduler of
// Spillway's own calls the extender for such a Pod. What to do: nothing. To let Spillway place the Pod, give its
// workload a key.
const ReasonUnmanaged Reason = "Unmanaged"

// Why the extender refuses a Pod until something changes.
const (
	// ReasonLocalQuota: the local quota of the revision is used up, and no virtual node passes the scheduler's filters.
	// What to do: wait until a local replica ends, raise LOCAL_REPLICAS, or remove what excludes virtual nodes. The
	// message says what that is.
	ReasonLocalQuota Reason = "LocalQuotaReached"
	// ReasonPreemptFirst: no local node fits, and Pods of lower priority are evicted from local nodes before the Pod
	// bursts. What to do: nothing. Within milliseconds there is room on a local node, or the Pod bursts.
	ReasonPreemptFirst Reason = "PreemptFirst"
	// ReasonLocalMin: the Pod is one of the replicas that never burst (spillway.io/local-min), and no local node fits.
	// What to do: make room on local nodes, or lower the annotation.
	ReasonLocalMin Reason = "LocalMinimum"
	// ReasonBurstAfter: no local node fits, and the Pod has not waited as long as it must before it may burst
	// (spillway.io/burst-after). What to do: nothing. The message has the time when it may burst.
	ReasonBurstAfter Reason = "BurstAfter"
	// ReasonCloudMax: the revision has as many replicas in the cloud as it may have (spillway.io/cloud-max), and no
	// local node may take the Pod. What to do: wait until a replica ends, make room on local nodes, or raise the
	// annotation.
	ReasonCloudMax Reason = "CloudMaximumReached"
	// ReasonCloudLimits: the Pods of the namespace use as much of the cloud as its limits allow. What to do: wait until
	// a Pod of the namespace ends in the cloud, request less, or ask an administrator to raise the limits.
	ReasonCloudLimits Reason = "CloudLimitsReached"
	// ReasonCloudOnly: only virtual nodes may take the Pod, and none can. What to do: remove what excludes virtual
	// nodes. The message says what that is. Or set the burst label to localPrefer.
	ReasonCloudOnly Reason = "CloudOnly"
	// ReasonLocalOnly: only local nodes may take the Pod, and none can. What to do: make room on local nodes, or let
	// the Pod burst. The message has the reason why it may not.
	ReasonLocalOnly Reason = "LocalOnly"
)

// Reasons of Events about the way home (spillway.io/way-home).
const (
	// ReasonMovingHome: there is room for the Pod on a local node, and it leaves the cloud: its successor starts on a
	// local node. What to do: nothing. To keep the Pods of a workload in the cloud, set spillway.io/way-home to
	// "false".
	ReasonMovingHome Reason = "MovingHome"
	// ReasonMovedHome: the successor of the Pod is Ready on a local node, and the Pod is evicted from the cloud. What
	// to do: nothing.
	ReasonMovedHome Reason = "MovedHome"
	// ReasonStaysInCloud: the Pod was to return to local nodes and stays in the cloud. The message says why. What to
	// do: nothing, unless the message names something to correct. Spillway tries it again after a pause that grows.
	ReasonStaysInCloud Reason = "StaysInCloud"
)

// ReasonSoldOut: the cloud has no capacity for the size of the Pod. It is the type of a condition of virtual nodes and
// the reason of Events of Pods. What to do: wait. An eviction lets the Pod run elsewhere (spillway.io/on-sold-out), or
// another size may have room.
const ReasonSoldOut Reason = "CloudSoldOut"

// ReasonQuota: a quota of the account or of the cloud namespace has no room for the Pod. The message contains what the
// cloud says. The Pod waits, whatever its restartPolicy. What to do: end other Pods of the account, or ask the cloud
// for a higher quota.
const ReasonQuota Reason = "CloudQuota"
