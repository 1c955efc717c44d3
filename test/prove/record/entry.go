package record

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Entry is one thing that happened. Exactly one of the pointers is set.
type Entry struct {
	// At is when the harness saw it. All entries of a record are dated by one clock.
	At       time.Time `json:"at"`
	Pod      *Pod      `json:"pod,omitempty"`
	Node     *Node     `json:"node,omitempty"`
	Asked    *Asked    `json:"asked,omitempty"`
	Answered *Answered `json:"answered,omitempty"`
	Bind     *Bind     `json:"bind,omitempty"`
	Action   *Action   `json:"action,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`
	Switch   *Switch   `json:"switch,omitempty"`
	Ended    *Ended    `json:"ended,omitempty"`
	Round    *Round    `json:"round,omitempty"`
}

// Pod is what the checks need to know of a Pod at one resource version.
type Pod struct {
	Version   uint64    `json:"version"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Gone is set where the Pod has been removed; Version is then that of the removal.
	Gone bool `json:"gone,omitempty"`
	// Listed is set where it was seen in a list: what has changed since it was seen before is one change here.
	Listed bool `json:"listed,omitempty"`
	// Owner is the UID of the controlling object, and OwnerName its name; Hash tells the revisions of one owner apart.
	Owner     types.UID `json:"owner,omitempty"`
	OwnerName string    `json:"ownerName,omitempty"`
	Hash      string    `json:"hash,omitempty"`
	// Quota is the Pod's LOCAL_REPLICAS, nil where it has none. Burst and Switch are its burst label and its AUTO_SCALE_EKS.
	Quota  *int   `json:"quota,omitempty"`
	Burst  string `json:"burst,omitempty"`
	Switch string `json:"switch,omitempty"`
	// Slot is set where the Pod carries the slot that was written for it, and no other's.
	Slot bool `json:"slot,omitempty"`
	// Marked is set where the scheduler asks the extender about the Pod.
	Marked    bool   `json:"marked,omitempty"`
	Scheduler string `json:"scheduler,omitempty"`
	Node      string `json:"node,omitempty"`
	Phase     string `json:"phase,omitempty"`
	// Terminating is set once the Pod is being deleted.
	Terminating bool   `json:"terminating,omitempty"`
	Priority    int32  `json:"priority,omitempty"`
	Nominated   string `json:"nominated,omitempty"`
	// Reason and Message are those of the condition PodScheduled while it is false.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Disrupted is the reason of the condition DisruptionTarget.
	Disrupted string `json:"disrupted,omitempty"`
}

// Node is a node when it appeared, or changed in what the scheduler looks at.
type Node struct {
	Version uint64 `json:"version"`
	Name    string `json:"name"`
	Virtual bool   `json:"virtual,omitempty"`
	// Content is a hash of all that the scheduler looks at.
	Content uint64 `json:"content,omitempty"`
	Gone    bool   `json:"gone,omitempty"`
}

// Asked is a question of the scheduler to the extender, as it was sent.
type Asked struct {
	// ID joins it with its Answered.
	ID   int64     `json:"id"`
	Verb string    `json:"verb"`
	UID  types.UID `json:"uid"`
	// Version is the resource version of the Pod in the question.
	Version uint64 `json:"version"`
	// Local and Virtual are how many nodes of each class it names.
	Local   int `json:"local"`
	Virtual int `json:"virtual"`
}

// Answered is what the scheduler got for a question.
type Answered struct {
	ID      int64     `json:"id"`
	Verb    string    `json:"verb"`
	UID     types.UID `json:"uid"`
	Local   int       `json:"local"`
	Virtual int       `json:"virtual"`
	// Refusal is the text that goes into the Pod's condition where no node is left.
	Refusal string `json:"refusal,omitempty"`
	// Error is why the scheduler got no answer; what it would have got stands beside it where the answer was lost.
	Error string `json:"error,omitempty"`
}

// Bind is a request to bind a Pod, as its sender saw it end.
type Bind struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Status    int    `json:"status"`
	// Fault is what the harness did to it; empty for nothing.
	Fault string `json:"fault,omitempty"`
}

// Action is something that the harness did to a workload or to the cluster.
type Action struct {
	Workload string `json:"workload,omitempty"`
	Do       string `json:"do"`
	On       string `json:"on,omitempty"`
}

// Fault is the begin or the end of a disturbance.
type Fault struct {
	Kind string `json:"kind"`
	// Number tells those of a kind apart.
	Number int  `json:"number"`
	Ended  bool `json:"ended,omitempty"`
}

// Kinds of Fault that make the answers of the extender slow: the harness holds them up, or the one that answers is stopped.
const (
	SlowAnswers = "extender is slow"
	Asleep      = "extender: the leader sleeps"
)

// Slows tells whether the fault makes answers slow.
func (f *Fault) Slows() bool { return f.Kind == SlowAnswers || f.Kind == Asleep }

// Switch is what the global switch is from now on. It is noted before it is turned, so no part of the cluster knows it earlier.
type Switch struct {
	Off bool `json:"off"`
}

// Ended is a process that has ended by itself, and is started again.
type Ended struct {
	Process string `json:"process"`
}

// Phase is where a round is.
type Phase string

const (
	// Begun: its workloads are played.
	Begun Phase = "begun"
	// Quiet: they have been played, every fault is healed and nothing has changed for a while.
	Quiet Phase = "quiet"
	// Cleared: its namespace is being removed.
	Cleared Phase = "cleared"
)

// Round is a step in the life of a round. Its workloads live in a namespace of its own.
type Round struct {
	Number    int    `json:"number"`
	Namespace string `json:"namespace"`
	Phase     Phase  `json:"phase"`
	// Histories is how many workloads are played in it.
	Histories int `json:"histories,omitempty"`
	// Calm is set where no fault is played.
	Calm bool `json:"calm,omitempty"`
}

// Active tells whether the Pod is one that a controller counts as a replica.
func (p *Pod) Active() bool {
	return !p.Gone && !p.Terminating && p.Phase != "Succeeded" && p.Phase != "Failed"
}
