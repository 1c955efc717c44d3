package record

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Entry is one observation. Exactly one of the pointers is set.
type Entry struct {
	// At is when the harness observed it. One clock dates all entries of a record.
	At       time.Time `json:"at"`
	Pod      *Pod      `json:"pod,omitempty"`
	Node     *Node     `json:"node,omitempty"`
	Request  *Request  `json:"asked,omitempty"`
	Response *Response `json:"answered,omitempty"`
	Bind     *Bind     `json:"bind,omitempty"`
	Action   *Action   `json:"action,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`
	Switch   *Switch   `json:"switch,omitempty"`
	Ended    *Ended    `json:"ended,omitempty"`
	Round    *Round    `json:"round,omitempty"`
	Workload *Workload `json:"workload,omitempty"`
}

// Pod is what the checks need of a Pod at one resource version.
type Pod struct {
	Version   uint64    `json:"version"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Gone is set if the Pod has been removed. Version is then the version of the removal.
	Gone bool `json:"gone,omitempty"`
	// Listed is set if the Pod was observed in a list. All changes since the last observation are then one change.
	Listed bool `json:"listed,omitempty"`
	// Owner is the UID of the controlling object, and OwnerName its name. Hash distinguishes the revisions of one
	// owner.
	Owner     types.UID `json:"owner,omitempty"`
	OwnerName string    `json:"ownerName,omitempty"`
	Hash      string    `json:"hash,omitempty"`
	// App is the label by which its workload selects it.
	App string `json:"app,omitempty"`
	// Quota is the Pod's LOCAL_REPLICAS if that is a number, or nil. Settings are its other annotations of those that
	// workloads and namespaces may have too.
	Quota    *int              `json:"quota,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
	// Burst and Switch are its burst label and its AUTO_SCALE_EKS.
	Burst  string `json:"burst,omitempty"`
	Switch string `json:"switch,omitempty"`
	// Slot is set if the Pod carries a slot that was written for this Pod.
	Slot bool `json:"slot,omitempty"`
	// CloudSlot is set if the Pod carries a cloud slot that was written for this Pod. Size is what it uses in the
	// cloud.
	CloudSlot bool         `json:"cloudSlot,omitempty"`
	Size      sizes.Flavor `json:"size"`
	// Marked is set if the Pod has the marker resource, for which the scheduler calls the extender.
	Marked    bool   `json:"marked,omitempty"`
	Scheduler string `json:"scheduler,omitempty"`
	Node      string `json:"node,omitempty"`
	Phase     string `json:"phase,omitempty"`
	// Terminating is set if the Pod is being deleted.
	Terminating bool   `json:"terminating,omitempty"`
	Priority    int32  `json:"priority,omitempty"`
	Nominated   string `json:"nominated,omitempty"`
	// Reason and Message are those of the condition PodScheduled if it is false.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Disrupted is the reason of the condition DisruptionTarget.
	Disrupted string `json:"disrupted,omitempty"`
	// Created is the Pod's creationTimestamp. Ready is its condition.
	Created time.Time `json:"created,omitzero"`
	Ready   bool      `json:"ready,omitempty"`
	// Moving is set while the Pod is on its way home: the UID of the ReplicaSet that has released it.
	Moving types.UID `json:"moving,omitempty"`
	// MilliCPU is what the Pod requests, and Room is the local nodes that it selects.
	MilliCPU int64  `json:"cpu,omitempty"`
	Room     string `json:"room,omitempty"`
}

// Node is a node when it was added, or when a field that the scheduler uses has changed.
type Node struct {
	Version uint64 `json:"version"`
	Name    string `json:"name"`
	Virtual bool   `json:"virtual,omitempty"`
	// Content is a hash of all fields that the scheduler uses.
	Content uint64 `json:"content,omitempty"`
	Gone    bool   `json:"gone,omitempty"`
	// MilliCPU is what Pods can request on it. Room is its label, and Open is set while it is ready and new Pods may
	// run on it.
	MilliCPU int64  `json:"cpu,omitempty"`
	Room     string `json:"room,omitempty"`
	Open     bool   `json:"open,omitempty"`
}

// Request is a request of the scheduler to the extender.
type Request struct {
	// ID is the ID of its Response too.
	ID   int64     `json:"id"`
	Verb string    `json:"verb"`
	UID  types.UID `json:"uid"`
	// Version is the resource version of the Pod in the request.
	Version uint64 `json:"version"`
	// Local and Virtual are the numbers of nodes of each class in the request.
	Local   int `json:"local"`
	Virtual int `json:"virtual"`
}

// Response is what the scheduler received for a Request.
type Response struct {
	ID      int64     `json:"id"`
	Verb    string    `json:"verb"`
	UID     types.UID `json:"uid"`
	Local   int       `json:"local"`
	Virtual int       `json:"virtual"`
	// Refusal is the message for the Pod's condition if no node is left.
	Refusal string `json:"refusal,omitempty"`
	// Error is why the scheduler received no answer. If the answer was lost, the other fields contain it.
	Error string `json:"error,omitempty"`
}

// Bind is a request to bind a Pod, with its result.
type Bind struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Status    int    `json:"status"`
	// Fault is the fault that the harness applied, or empty.
	Fault string `json:"fault,omitempty"`
}

// Action is something that the harness did to a workload or to the cluster.
type Action struct {
	Workload string `json:"workload,omitempty"`
	Do       string `json:"do"`
	On       string `json:"on,omitempty"`
}

// Fault is the beginning or the end of a fault.
type Fault struct {
	Kind string `json:"kind"`
	// Number distinguishes faults of the same kind.
	Number int  `json:"number"`
	Ended  bool `json:"ended,omitempty"`
}

// Kinds of Fault that slow down the extender's answers: the harness delays them, or the leader is suspended.
const (
	SlowAnswers     = "extender is slow"
	LeaderSuspended = "extender: the leader sleeps"
)

// Slows reports whether the fault slows down answers.
func (f *Fault) Slows() bool { return f.Kind == SlowAnswers || f.Kind == LeaderSuspended }

// Switch is a change of the global switch. It is recorded before the change, so no component observes the change
// earlier.
type Switch struct {
	Off bool `json:"off"`
}

// Ended is a process that exited on its own and is started again.
type Ended struct {
	Process string `json:"process"`
}

// Phase is the phase of a round.
type Phase string

const (
	// Begun: the workloads of the round are played.
	Begun Phase = "begun"
	// Quiet: they have been played, every fault has ended, and nothing has changed for a while.
	Quiet Phase = "quiet"
	// Cleared: the namespace of the round is being deleted.
	Cleared Phase = "cleared"
)

// Round is a change of the phase of a round. Each round has its own namespace.
type Round struct {
	Number    int    `json:"number"`
	Namespace string `json:"namespace"`
	Phase     Phase  `json:"phase"`
	// Histories is the number of workloads of the round.
	Histories int `json:"histories,omitempty"`
	// Calm is set if the round has no faults.
	Calm bool `json:"calm,omitempty"`
	// Limits are the cloud limits of the namespace, or empty. Settings are its annotations that Pods inherit.
	Limits   string            `json:"limits,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// Workload is what the harness has written to a workload, before any component could have seen it.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Settings are its own annotations that Pods inherit. Those of its template are not part of them.
	Settings map[string]string `json:"settings,omitempty"`
	// MinAvailable is that of its PodDisruptionBudget, 0 if it has none.
	MinAvailable int `json:"minAvailable,omitempty"`
	// WayHome is set if its cloud Pods may return.
	WayHome bool `json:"wayHome,omitempty"`
}

// Active reports whether a controller counts the Pod as a replica.
func (p *Pod) Active() bool { return !p.Terminating && !p.Ended() }

// Ended reports whether the Pod is gone or all its containers have terminated.
func (p *Pod) Ended() bool { return p.Gone || p.Phase == "Succeeded" || p.Phase == "Failed" }
