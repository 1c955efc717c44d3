package provider

// Reasons in the status of Pods that have no cloud Pod. The reasons of Pods that can never have one are those of
// package policy, and translate.ReasonUnsupported.
const (
	// ReasonUnavailable: the cloud does not respond, or responds with an internal error. The Pod is retried.
	ReasonUnavailable = "CloudUnavailable"
	// ReasonThrottled: the cloud accepts no more requests for now. The Pod is retried.
	ReasonThrottled = "CloudThrottled"
	// ReasonDenied: the account has no permission to use the cloud, or has it no longer. The Pod is retried; an
	// operator must act.
	ReasonDenied = "CloudDenied"
	// ReasonNotOffered: the region does not offer what the Pod needs, such as volumes, or the endpoint has no API for
	// Pods. The Pod is retried; an operator must act.
	ReasonNotOffered = "CloudNotOffered"
	// ReasonRefused: the cloud does not accept this Pod.
	ReasonRefused = "CloudRefused"
	// ReasonUndecided: the switch and the settings of namespaces are not known yet, so it is not known whether the Pod
	// may run in the cloud. The Pod is retried.
	ReasonUndecided = "PolicyUnknown"
	// ReasonServicesUnknown: the Pod gets variables of the Services of its namespace, which are not known yet. The Pod is
	// retried.
	ReasonServicesUnknown = "ServicesUnknown"
	// ReasonConfigError: a ConfigMap, Secret or service account that the Pod refers to does not exist, lacks a key or
	// cannot be read. The kubelet uses the same reason. The Pod is retried.
	ReasonConfigError = "CreateContainerConfigError"
	// ReasonMirrorLimit: the objects that the Pod refers to would exceed a limit for copies in the cloud, which the
	// message names (pods.mirrorLimits). The Pod is retried. If it exceeds the limit for one Pod, it is refused.
	ReasonMirrorLimit = "MirrorLimitExceeded"
	// ReasonLost: the cloud Pod disappeared without a request to delete it.
	ReasonLost = "CloudPodLost"
	// ReasonDeadline: the Pod has been active for longer than its activeDeadlineSeconds, counted from the moment when
	// the virtual node has accepted it. The kubelet uses the same reason.
	ReasonDeadline = "DeadlineExceeded"
)

// Reasons of Events.
const (
	// eventCreated: the cloud Pod was created.
	eventCreated = "CloudPodCreated"
	// eventAdopted: the cloud Pod already existed, for example because the answer to its creation was lost.
	eventAdopted = "CloudPodAdopted"
	// eventChanged: the cloud Pod differs from the Pod, because the cloud does not support some of its fields.
	eventChanged = "CloudPodDiffers"
	// eventSidecarFailed: the sidecar with which the Pod reaches Services does not run.
	eventSidecarFailed = "ServicesSidecarFailed"
	// eventImageKept: an image was changed, and the cloud Pod keeps its old image.
	eventImageKept = "CloudPodKeepsImage"
	// eventAddressRefused: the cloud reports an address that is not in the configured ranges. Nothing connects to it.
	eventAddressRefused = "CloudAddressRefused"
	// eventNoDebugging: an ephemeral container was added, and the cloud Pod does not run it.
	eventNoDebugging = "CloudPodKeepsContainers"
	// eventFilesKept: labels or annotations were changed that files of the downward API show. The files keep the old
	// values.
	eventFilesKept = "CloudPodKeepsFiles"
	// eventStays: the burst label or the switch of the Pod was changed. The Pod stays in the cloud.
	eventStays = "CloudPodStays"
	// eventResizeRefused: the resources of a Pod were changed, and its cloud Pod keeps its size. The kubelet uses the
	// same reason.
	eventResizeRefused = "ResizeInfeasible"
)
