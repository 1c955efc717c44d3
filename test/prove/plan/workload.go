package plan

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// Kind is the kind of a workload.
type Kind string

const (
	Deployment  Kind = "Deployment"
	ReplicaSet  Kind = "ReplicaSet"
	StatefulSet Kind = "StatefulSet"
	Job         Kind = "Job"
)

// Nodes are the nodes on which the Pods of a workload can run, as far as node affinity is concerned.
type Nodes string

const (
	// Wide: any of the many large nodes, or the cloud.
	Wide Nodes = "wide"
	// WideOnly: the large nodes only. Pods over the quota wait for a slot.
	WideOnly Nodes = "wide only"
	// Tight: one small node, for which others compete, or the cloud.
	Tight Nodes = "tight"
	// TightOnly: one small node only.
	TightOnly Nodes = "tight only"
)

// OtherScheduler is the scheduler of Pods that kube-scheduler does not bind. The harness simulates it.
const OtherScheduler = "other-scheduler"

// Priorities are the priority classes of the plan, with their values.
var Priorities = map[string]int32{"proof-low": -10, "proof-high": 1000}

// Workload is one history: a workload and what is done to it.
type Workload struct {
	Name string
	Kind Kind
	// Start is when the workload is created, after the beginning of the round. If it is Late, it is after all others
	// have been played and nothing changes any more.
	Start    time.Duration
	Late     bool
	Replicas int
	// Quota is the LOCAL_REPLICAS of its template, or nil.
	Quota *int
	// Settings are its other annotations that Pods inherit. They are on its template, or on the workload itself if
	// OnWorkload is set.
	Settings   map[string]string
	OnWorkload bool
	// WayHome is set if its cloud Pods return when they can. MinAvailable is that of its PodDisruptionBudget, 0 if it
	// has none.
	WayHome      bool
	MinAvailable int
	// Burst is the burst label of its template. Without one the switch decides.
	Burst policy.Mode
	Nodes Nodes
	// Node is the number of its small node, if Nodes is Tight or TightOnly.
	Node int
	// CPU of each Pod, in millicores.
	CPU int
	// Priority is the name of a priority class, or empty.
	Priority string
	// Scheduler is the scheduler of the Pods. If it is empty, it is kube-scheduler.
	Scheduler string
	// Surge and Unavailable are the parameters of its rolling updates.
	Surge, Unavailable string
	// Parallel makes a StatefulSet create and delete all its Pods at once.
	Parallel bool
	Steps    []Step
}

// Managed reports whether the scheduler calls the extender for the Pods of the workload.
func (w *Workload) Managed() bool {
	return w.Quota != nil || w.Burst != policy.ModeNone || policy.HasShares(w.Settings)
}

// Step is one action on a workload.
type Step struct {
	// After is the time since the previous step.
	After time.Duration
	Do    Action
	// Count is a number of replicas or of Pods, or a quota, depending on the action.
	Count int
	// Settings are what EditShares writes.
	Settings map[string]string
}

// Action is an action on a workload.
type Action string

const (
	// Scale scales to Count replicas. For a Job it sets the parallelism.
	Scale Action = "scale"
	// Rollout starts a new revision.
	Rollout Action = "roll out"
	// Rollback returns to the previous revision.
	Rollback Action = "roll back"
	// EditQuota sets the quota of the template to Count. This starts a new revision. Only the Pods of a ReplicaSet then
	// differ within one revision.
	EditQuota Action = "edit quota"
	// EditShares replaces the annotations that stand on the workload itself. This starts no revision.
	EditShares Action = "edit shares"
	// Delete, ForceDelete, Evict and Fail end Count Pods. Fail sets their phase, as a kubelet does.
	Delete      Action = "delete"
	ForceDelete Action = "force-delete"
	Evict       Action = "evict"
	Fail        Action = "fail"
	// Release changes the label by which the owner selects Count Pods. Adopt restores it.
	Release Action = "release"
	Adopt   Action = "adopt"
	// SetOff sets the burst label "off" on Count Pods.
	SetOff Action = "set off"
	// DropQuota removes the quota from Count Pods. They count in their revision as before.
	DropQuota Action = "drop quota"
	// Regroup makes Count Pods, local ones first, another revision of the same ReplicaSet. They give their slots back,
	// and no Pod is created for them.
	Regroup Action = "regroup"
	// BindIn creates Count Pods with a nodeName, which the workload adopts. Intrude creates Count Pods for the other
	// scheduler.
	BindIn  Action = "bind in"
	Intrude Action = "intrude"
)

// draw returns a random element.
func draw[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most) + 1))
}

// drawWorkload returns a workload that does not compete for resources.
func drawWorkload(random *rand.Rand, number int, within time.Duration, namespace map[string]string) Workload {
	w := Workload{
		Name: fmt.Sprintf("w%d", number), Start: upTo(random, within), CPU: 100,
		Nodes: draw(random, Wide, Wide, WideOnly),
		Kind:  draw(random, Deployment, Deployment, Deployment, ReplicaSet, ReplicaSet, StatefulSet, Job),
		Burst: draw(random, policy.ModeLocalPrefer, policy.ModeLocalPrefer, policy.ModeLocalPrefer, policy.ModeNone,
			policy.ModeAuto),
		Surge: draw(random, "0", "25%", "100%"), Unavailable: draw(random, "1", "25%", "50%"),
		Parallel: random.IntN(3) > 0,
	}
	w.Replicas = 1 + random.IntN(8)
	w.Quota = new(random.IntN(4))
	switch random.IntN(12) {
	case 0: // An unmanaged workload, for I7.
		w.Quota, w.Burst, w.Nodes = nil, policy.ModeNone, Wide
	case 1: // A quota without effect.
		w.Burst = draw(random, policy.ModeEnforce, policy.ModeOff)
		w.Nodes = Wide
	case 2:
		w.Scheduler = OtherScheduler
	case 3, 4, 5, 6, 7:
		w.Quota, w.Settings, w.OnWorkload = nil, drawSettings(random, namespace, nil), random.IntN(3) > 0
	}
	for range 2 + random.IntN(4) {
		w.Steps = append(w.Steps, drawStep(random, &w, within/4, namespace))
	}
	return w
}

// drawBurst returns a workload of very many replicas, which are created at once.
func drawBurst(random *rand.Rand, number, replicas int, within time.Duration) Workload {
	w := drawWorkload(random, number, within, nil)
	w.Kind, w.Nodes, w.Scheduler, w.Burst = draw(random, Deployment, ReplicaSet, Job), Wide, "", policy.ModeLocalPrefer
	w.Quota, w.Settings, w.OnWorkload, w.Replicas = new(3+random.IntN(5)), nil, false, replicas
	if random.IntN(2) == 0 { // Each of the Pods that are created changes what the others may do.
		w.Quota, w.Settings = nil, map[string]string{policy.LocalReplicasAnnotation: "5%"}
	}
	w.Steps = []Step{
		{After: upTo(random, 3*time.Second), Do: Delete, Count: 5},
		{After: upTo(random, 3*time.Second), Do: Scale, Count: replicas / 10},
	}
	return w
}

// drawDuel returns two workloads that compete for one small node: low-priority Pods fill it, then high-priority Pods
// come.
func drawDuel(random *rand.Rand, number, node int, within time.Duration) []Workload {
	low, high := drawWorkload(random, number, within/2, nil), drawWorkload(random, number+1, 0, nil)
	low.Settings, high.Settings, low.OnWorkload, high.OnWorkload = nil, nil, false, false
	low.Kind, low.Quota, low.Burst, low.Scheduler, low.Priority = Deployment, nil, policy.ModeNone, "", "proof-low"
	low.Nodes, low.Node, low.CPU, low.Replicas = TightOnly, node, 300, 3
	low.Steps = nil
	high.Kind, high.Scheduler, high.Priority, high.Burst = draw(random, Deployment, ReplicaSet), "", "proof-high",
		policy.ModeLocalPrefer
	high.Quota = draw(random, nil, new(1), new(2))
	high.Nodes, high.Node, high.CPU, high.Replicas = draw(random, Tight, Tight, TightOnly), node, 300, 1+random.IntN(4)
	high.Start = low.Start + 2*time.Second + upTo(random, within/2)
	high.Steps = []Step{{
		After: upTo(random, 4*time.Second), Do: draw(random, Scale, Delete, Rollout), Count: 1 + random.IntN(3),
	}}
	return []Workload{low, high}
}

// drawPatient returns a workload whose Pods wait for slots that become free one by one, for I3. In a calm round it
// comes when everything else has been played.
func drawPatient(random *rand.Rand, number int, within time.Duration, calm bool) Workload {
	w := drawWorkload(random, number, 0, nil)
	w.Settings, w.OnWorkload = nil, false
	w.Kind, w.Nodes, w.Scheduler, w.Burst = draw(random, Deployment, ReplicaSet), WideOnly, "", policy.ModeLocalPrefer
	w.Start, w.Late, w.Replicas, w.Quota = upTo(random, 5*time.Second), calm, 10, new(1+random.IntN(3))
	if !calm {
		w.Start += within
	}
	w.Steps = nil
	for range 6 {
		after := time.Second + upTo(random, time.Second)
		w.Steps = append(w.Steps, Step{After: after, Do: draw(random, Regroup, Regroup, Delete), Count: 1})
	}
	return w
}

// drawStep returns the next action. The pause makes histories last as long as faults do.
func drawStep(random *rand.Rand, w *Workload, pause time.Duration, namespace map[string]string) Step {
	step := Step{After: 300*time.Millisecond + upTo(random, pause), Count: 1 + random.IntN(2)}
	if w.OnWorkload && random.IntN(3) == 0 {
		step.Do, step.Settings = EditShares, drawSettings(random, namespace, nil)
		return step
	}
	ending := []Action{Delete, Delete, ForceDelete, Evict, Fail}
	switch w.Kind {
	case Job:
		step.Do = draw(random, append(ending, Scale)...)
	case StatefulSet:
		step.Do = draw(random, append(ending, Scale, Rollout, EditQuota, DropQuota)...)
	case ReplicaSet:
		ofReplicaSet := []Action{Scale, Scale, EditQuota, Release, Adopt, SetOff, DropQuota, Regroup, BindIn, Intrude}
		step.Do = draw(random, append(ending, ofReplicaSet...)...)
	default:
		ofDeployment := []Action{
			Scale, Scale, Rollout, Rollout, Rollback, Rollback, EditQuota, Release, Adopt, SetOff, DropQuota, Regroup,
			BindIn, Intrude,
		}
		step.Do = draw(random, append(ending, ofDeployment...)...)
	}
	switch step.Do {
	case Scale:
		step.Count = random.IntN(10)
	case EditQuota:
		step.Count = random.IntN(5)
	}
	if w.Quota == nil && (step.Do == EditQuota || step.Do == DropQuota) {
		step.Do = Scale
	}
	return step
}
