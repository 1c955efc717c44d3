package policy

// Reason is a constant CamelCase word for why a Pod is placed as it is: the value of metrics labels, events and the switches
// of single rules. Messages beside it say what would change it.
type Reason string

// Why a Pod may, must or must not burst.
const (
	// ReasonSwitchOn: the global or local switch allows bursting and no burst label says otherwise.
	ReasonSwitchOn Reason = "SwitchOn"
	// ReasonSwitchOff: the global switch is off and the local one is not on.
	ReasonSwitchOff Reason = "SwitchOff"
	// ReasonLabelOff, ReasonLabelEnforce, ReasonLabelLocalPrefer, ReasonLabelAuto: the burst label decides.
	ReasonLabelOff         Reason = "LabelOff"
	ReasonLabelEnforce     Reason = "LabelEnforce"
	ReasonLabelLocalPrefer Reason = "LabelLocalPrefer"
	ReasonLabelAuto        Reason = "LabelAuto"
	// ReasonNamespaceEnforce: the namespace sends all its Pods to the cloud.
	ReasonNamespaceEnforce Reason = "NamespaceEnforce"
	// ReasonInvalid: a key of the Pod is malformed; it stays home until the key is right.
	ReasonInvalid Reason = "InvalidPolicy"
	// ReasonSchedulingGroup: the Pod has a local quota and belongs to a scheduling group, for which none can be kept; it stays home.
	ReasonSchedulingGroup Reason = "SchedulingGroup"
)

// The restrictions: why a Pod can never run in the cloud. Each is a rule that a cluster may switch off by this name.
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
	ReasonBlockDevice        Reason = "BlockDevice"
	ReasonDynamicResource    Reason = "DynamicResource"
	ReasonRestartRules       Reason = "RestartRules"
	ReasonSupplementalGroups Reason = "SupplementalGroupsPolicy"
	ReasonCCI1               Reason = "NotInCCI1"
	ReasonVariableSource     Reason = "VariableSource"
	ReasonEphemeralStorage   Reason = "EphemeralStorage"
)

// What Events say beside the reasons of a decision.
const (
	// ReasonBurstAllowed: the Pod tolerates virtual nodes from now on.
	ReasonBurstAllowed Reason = "BurstAllowed"
	// ReasonWebhookMissed: the Pod was created without the webhook and lacks what cannot be added later.
	ReasonWebhookMissed Reason = "WebhookMissed"
	// ReasonKeptLocal: the Pod tolerates every taint and was not allowed to burst when it was created. The webhook gave it node affinity
	// against virtual nodes, so it stays on local nodes until it is recreated.
	ReasonKeptLocal Reason = "KeptLocal"
)

// Why the extender refuses a Pod for now.
const (
	// ReasonLocalQuota: the revision has its LOCAL_REPLICAS at home and no virtual node can take the Pod.
	ReasonLocalQuota Reason = "LocalQuotaReached"
	// ReasonPreemptFirst: no local node fits, and Pods of lower priority at home are evicted before the Pod bursts.
	ReasonPreemptFirst Reason = "PreemptFirst"
	// ReasonCloudOnly: only virtual nodes may take the Pod, and none can.
	ReasonCloudOnly Reason = "CloudOnly"
	// ReasonLocalOnly: only local nodes may take the Pod, and none can.
	ReasonLocalOnly Reason = "LocalOnly"
)

// ReasonSoldOut: the cloud has no room for the Pod's size. It is the type of a virtual node's condition and the reason of Pods' events.
const ReasonSoldOut Reason = "CloudSoldOut"
