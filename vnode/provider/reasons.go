package provider

// Reasons in the status of Pods that have no cloud Pod. Those of Pods that can never have one are policy's, and
// translate.ReasonUnsupported.
const (
	// ReasonUnavailable: the cloud does not answer, or answers with an error of its own. It is tried again.
	ReasonUnavailable = "CloudUnavailable"
	// ReasonThrottled: the cloud takes no more requests for now. It is tried again.
	ReasonThrottled = "CloudThrottled"
	// ReasonDenied: the account may not, or may no longer, use the cloud. It is tried again; an operator must act.
	ReasonDenied = "CloudDenied"
	// ReasonRefused: the cloud does not take this Pod.
	ReasonRefused = "CloudRefused"
	// ReasonConfigError: a ConfigMap, Secret or service account that the Pod refers to is not there, lacks a key or cannot be read. It is
	// the kubelet's word, and it is tried again.
	ReasonConfigError = "CreateContainerConfigError"
	// ReasonLost: the cloud Pod vanished without having been asked to.
	ReasonLost = "CloudPodLost"
)

// Reasons of events.
const (
	eventCreated     = "CloudPodCreated"
	eventAdopted     = "CloudPodAdopted"
	eventChanged     = "CloudPodDiffers"
	eventImageKept   = "CloudPodKeepsImage"
	eventNoDebugging = "CloudPodKeepsContainers"
)
