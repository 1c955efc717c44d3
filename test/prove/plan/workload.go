package plan

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// Kind is what makes the Pods of a workload.
type Kind string

const (
	Deployment  Kind = "Deployment"
	ReplicaSet  Kind = "ReplicaSet"
	StatefulSet Kind = "StatefulSet"
	Job         Kind = "Job"
)

// Home is where the Pods of a workload can run at home, and whether they can run in the cloud as far as the scheduler goes.
type Home string

const (
	// Wide: on any of the many nodes with room, or in the cloud.
	Wide Home = "wide"
	// HomeOnly: on the nodes with room and nowhere else. Who is over the quota waits for a slot.
	HomeOnly Home = "home only"
	// Tight: on one small node, which others compete for, or in the cloud.
	Tight Home = "tight"
	// TightOnly: on one small node and nowhere else.
	TightOnly Home = "tight only"
)

// OtherScheduler binds Pods that are none of kube-scheduler's; the harness plays it.
const OtherScheduler = "other-scheduler"

// Priority classes of the plan, by value.
var Priorities = map[string]int32{"proof-low": -10, "proof-high": 1000}

// Workload is one history: a workload, and what becomes of it.
type Workload struct {
	Name string
	Kind Kind
	// Start is when it is made, from the beginning of the round, or where it is Late from when all others have been played and nothing moves any more.
	Start    time.Duration
	Late     bool
	Replicas int
	// Quota is its LOCAL_REPLICAS, nil for none.
	Quota *int
	// Burst is the burst label of its template; without one the switch decides.
	Burst policy.Mode
	Home  Home
	// Node is the number of its small node where its Home is Tight or TightOnly.
	Node int
	// CPU of each Pod, in millicores.
	CPU int
	// Priority is the name of a class, empty for none.
	Priority string
	// Scheduler is who binds the Pods, empty for kube-scheduler.
	Scheduler string
	// Surge and Unavailable shape its rolling updates.
	Surge, Unavailable string
	// Parallel has a StatefulSet make and remove its Pods all at once.
	Parallel bool
	Steps    []Step
}

// Keyed tells whether the extender is asked about its Pods.
func (w *Workload) Keyed() bool { return w.Quota != nil || w.Burst != policy.ModeNone }

// Step is one thing that is done to a workload.
type Step struct {
	// After is how long after the step before.
	After time.Duration
	Do    Action
	// Count is how many replicas, Pods, or which quota: the action says what.
	Count int
}

// Action is what is done.
type Action string

const (
	// Scale to Count replicas; of a Job, its parallelism.
	Scale Action = "scale"
	// Rollout begins a new revision.
	Rollout Action = "roll out"
	// Rollback goes back to the revision before.
	Rollback Action = "roll back"
	// EditQuota writes Count into the template: a new revision, but for a ReplicaSet, whose Pods then differ.
	EditQuota Action = "edit quota"
	// Delete, ForceDelete, Evict and Fail end Count Pods; Fail as a kubelet does it.
	Delete      Action = "delete"
	ForceDelete Action = "force-delete"
	Evict       Action = "evict"
	Fail        Action = "fail"
	// Release changes the label of Count Pods by which their owner knows them, and Adopt changes it back.
	Release Action = "release"
	Adopt   Action = "adopt"
	// SetOff writes the burst label "off" on Count Pods.
	SetOff Action = "set off"
	// DropQuota takes the quota off Count Pods.
	DropQuota Action = "drop quota"
	// BindIn creates Count Pods with a nodeName, which the workload adopts. Intrude creates Count Pods for the other scheduler.
	BindIn  Action = "bind in"
	Intrude Action = "intrude"
)

// draw is one random choice.
func draw[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most) + 1))
}

// drawWorkload draws one that competes with nobody for room.
func drawWorkload(random *rand.Rand, number int, within time.Duration) Workload {
	w := Workload{
		Name: fmt.Sprintf("w%d", number), Start: upTo(random, within), CPU: 100, Home: draw(random, Wide, Wide, HomeOnly),
		Kind:  draw(random, Deployment, Deployment, Deployment, ReplicaSet, ReplicaSet, StatefulSet, Job),
		Burst: draw(random, policy.ModeLocalPrefer, policy.ModeLocalPrefer, policy.ModeLocalPrefer, policy.ModeNone, policy.ModeAuto),
		Surge: draw(random, "0", "25%", "100%"), Unavailable: draw(random, "1", "25%", "50%"), Parallel: random.IntN(3) > 0,
	}
	w.Replicas = 1 + random.IntN(8)
	w.Quota = new(random.IntN(4))
	switch random.IntN(12) {
	case 0: // Nobody's concern: I7.
		w.Quota, w.Burst, w.Home = nil, policy.ModeNone, Wide
	case 1: // A quota that does not count.
		w.Burst = draw(random, policy.ModeEnforce, policy.ModeOff)
		w.Home = Wide
	case 2:
		w.Scheduler = OtherScheduler
	}
	for range 2 + random.IntN(4) {
		w.Steps = append(w.Steps, drawStep(random, &w, within/4))
	}
	return w
}

// drawBurst draws a workload of very many replicas at once.
func drawBurst(random *rand.Rand, number, replicas int, within time.Duration) Workload {
	w := drawWorkload(random, number, within)
	w.Kind, w.Home, w.Scheduler, w.Burst = draw(random, Deployment, ReplicaSet, Job), Wide, "", policy.ModeLocalPrefer
	w.Quota, w.Replicas = new(3+random.IntN(5)), replicas
	w.Steps = []Step{
		{After: upTo(random, 3*time.Second), Do: Delete, Count: 5},
		{After: upTo(random, 3*time.Second), Do: Scale, Count: replicas / 10},
	}
	return w
}

// drawDuel draws two that compete for one small node: Pods of low priority fill it, then others of high priority come.
func drawDuel(random *rand.Rand, number, node int, within time.Duration) []Workload {
	low, high := drawWorkload(random, number, within/2), drawWorkload(random, number+1, 0)
	low.Kind, low.Quota, low.Burst, low.Scheduler, low.Priority = Deployment, nil, policy.ModeNone, "", "proof-low"
	low.Home, low.Node, low.CPU, low.Replicas = TightOnly, node, 300, 3
	low.Steps = nil
	high.Kind, high.Scheduler, high.Priority, high.Burst = draw(random, Deployment, ReplicaSet), "", "proof-high", policy.ModeLocalPrefer
	high.Quota = draw(random, nil, new(1), new(2))
	high.Home, high.Node, high.CPU, high.Replicas = draw(random, Tight, Tight, TightOnly), node, 300, 1+random.IntN(4)
	high.Start = low.Start + 2*time.Second + upTo(random, within/2)
	high.Steps = []Step{{After: upTo(random, 4*time.Second), Do: draw(random, Scale, Delete, Rollout), Count: 1 + random.IntN(3)}}
	return []Workload{low, high}
}

// drawPatient draws one whose Pods wait for slots that become free one by one: I3. In a calm round it comes when the rush is over.
func drawPatient(random *rand.Rand, number int, within time.Duration, calm bool) Workload {
	w := drawWorkload(random, number, 0)
	w.Kind, w.Home, w.Scheduler, w.Burst = draw(random, Deployment, ReplicaSet), HomeOnly, "", policy.ModeLocalPrefer
	w.Start, w.Late, w.Replicas, w.Quota = upTo(random, 5*time.Second), calm, 10, new(1+random.IntN(3))
	if !calm {
		w.Start += within
	}
	w.Steps = nil
	for range 6 {
		w.Steps = append(w.Steps, Step{After: time.Second + upTo(random, time.Second), Do: draw(random, DropQuota, DropQuota, Delete), Count: 1})
	}
	return w
}

// drawStep draws what is done next, after a pause: histories go on for as long as faults do.
func drawStep(random *rand.Rand, w *Workload, pause time.Duration) Step {
	step := Step{After: 300*time.Millisecond + upTo(random, pause), Count: 1 + random.IntN(2)}
	ending := []Action{Delete, Delete, ForceDelete, Evict, Fail}
	switch w.Kind {
	case Job:
		step.Do = draw(random, append(ending, Scale)...)
	case StatefulSet:
		step.Do = draw(random, append(ending, Scale, Rollout, EditQuota, DropQuota)...)
	case ReplicaSet:
		step.Do = draw(random, append(ending, Scale, Scale, EditQuota, Release, Adopt, SetOff, DropQuota, BindIn, Intrude)...)
	default:
		step.Do = draw(random, append(ending, Scale, Scale, Rollout, Rollout, Rollback, Rollback, EditQuota, Release, Adopt, SetOff, DropQuota, BindIn, Intrude)...)
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
