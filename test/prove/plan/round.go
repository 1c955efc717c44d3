package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Round is a part of a run: many histories at the same time, and the faults and cluster events during them.
type Round struct {
	Number int
	// Calm rounds have no faults. The promises for undisturbed times are measured in them.
	Calm bool
	// Limits are the cloud limits of the round's namespace, or empty.
	Limits string
	// Settings are the annotations of the namespace that its Pods inherit.
	Settings  map[string]string
	Workloads []Workload
	// ClusterEvents happen one after another.
	ClusterEvents []ClusterEvent
	// Faults are several series that are played at the same time.
	Faults [][]Disturbance
}

// ClusterAction is something that happens to the cluster and not to a workload.
type ClusterAction string

const (
	SwitchOff ClusterAction = "switch off"
	SwitchOn  ClusterAction = "switch on"
	// DrainNode cordons a node, evicts its Pods and uncordons it.
	DrainNode ClusterAction = "drain node"
	// DeleteNode deletes a node. AddNode creates it again.
	DeleteNode ClusterAction = "lose node"
	AddNode    ClusterAction = "add node"
	// NodeNotReady sets the condition Ready of a node to False. NodeReady sets it to True.
	NodeNotReady ClusterAction = "node not ready"
	NodeReady    ClusterAction = "node ready again"
)

// ClusterEvent is a ClusterAction at a point in time.
type ClusterEvent struct {
	After time.Duration
	Do    ClusterAction
	// Node is the number of the node, if the action has one.
	Node int
}

// Size determines how large rounds are.
type Size struct {
	// Workloads is the number of histories of a round. Burst is the number of replicas of the one workload that creates
	// them all at once.
	Workloads, Burst int
	// WideNodes and TightNodes are the numbers of large and small nodes. The last Crowds of the small ones are for
	// crowds.
	WideNodes, TightNodes int
	// Crowds is the number of workloads that wait for room on a small node of their own, and Returning the number of
	// those whose cloud Pods return.
	Crowds, Returning int
	// Patient is the number of workloads that come last and wait for slots.
	Patient int
	// Faults is how often each fault occurs in a round that is not calm.
	Faults int
	// Service is set if several extenders elect a leader.
	Service bool
	// Within is the time in which all workloads start.
	Within time.Duration
}

// WayHome is how cloud Pods return: the configuration of the extender, and the limits of the checks.
type WayHome struct {
	// MaxMoves is how many Pods of the cluster are on their way at once, and Pause the time between two moves of a
	// workload. Pods younger than MinAge stay.
	MaxMoves      int
	Pause, MinAge time.Duration
	// StableFor is how long there must have been room.
	StableFor time.Duration
	// Tolerance is how much shorter a pause may look in a record.
	Tolerance time.Duration
}

// DefaultWayHome returns times that are short enough for a round.
func DefaultWayHome() WayHome {
	return WayHome{
		MaxMoves: 2, Pause: time.Second, MinAge: 5 * time.Second, StableFor: time.Second,
		Tolerance: 500 * time.Millisecond,
	}
}

// Settles is how long nothing must change until no Pod will begin its way home: a new leader of the extender waits ten
// pauses before its first move.
func (w WayHome) Settles() time.Duration { return 10*w.Pause + w.StableFor + 3*time.Second }

// Returns reports whether Pods of the round may return.
func (r *Round) Returns() bool {
	return slices.ContainsFunc(r.Workloads, func(w Workload) bool { return w.WayHome })
}

// Planner generates one round after another.
type Planner struct {
	random *rand.Rand
	size   Size
	number int
}

// New returns the Planner of a seed.
func New(seed uint64, size Size) *Planner {
	return &Planner{random: rand.New(rand.NewPCG(seed, 0)), size: size}
}

// Next generates a round. The first round and every fourth after it are calm.
func (p *Planner) Next() Round {
	round := Round{Number: p.number, Calm: p.number%4 == 0}
	p.number++
	// Each round has its own random source, so that a change in one does not affect the others.
	random := rand.New(rand.NewPCG(p.random.Uint64(), p.random.Uint64()))
	size := p.size
	round.Settings = drawNamespace(random, round.Calm)
	for node := range size.TightNodes - size.Crowds {
		round.Workloads = append(round.Workloads, drawDuel(random, len(round.Workloads), node, size.Within)...)
	}
	if size.Burst > 0 {
		round.Workloads = append(round.Workloads, drawBurst(random, len(round.Workloads), size.Burst, size.Within))
	}
	for crowd := range size.Crowds {
		node := size.TightNodes - size.Crowds + crowd
		round.Workloads = append(round.Workloads,
			drawCrowd(random, len(round.Workloads), node, size.Within, round.Settings))
	}
	for range size.Returning {
		round.Workloads = append(round.Workloads, drawReturning(random, len(round.Workloads), size.Within))
	}
	for range size.Patient {
		round.Workloads = append(round.Workloads, drawPatient(random, len(round.Workloads), size.Within, round.Calm))
	}
	for len(round.Workloads) < size.Workloads {
		round.Workloads = append(round.Workloads, drawWorkload(random, len(round.Workloads), size.Within,
			round.Settings))
	}
	round.ClusterEvents = drawClusterEvents(random, size)
	if round.Number%2 == 1 {
		round.Limits = fmt.Sprintf("pods=%d,cpu=%d", 10+random.IntN(30), 3+random.IntN(6))
	}
	if !round.Calm {
		for _, kinds := range [][]Fault{programFaults(size.Service), apiServerFaults(), networkFaults()} {
			round.Faults = append(round.Faults, drawFaults(random, kinds, size.Faults))
		}
	}
	return round
}

// drawClusterEvents returns a drain, a node that is deleted and created again, one that is not ready for a while, and
// changes of the switch.
func drawClusterEvents(random *rand.Rand, size Size) []ClusterEvent {
	drained := random.IntN(size.WideNodes)
	lost := (drained + 1 + random.IntN(max(size.WideNodes-1, 1))) % size.WideNodes
	pause := func() time.Duration { return upTo(random, size.Within/3) }
	notReady := random.IntN(size.WideNodes)
	events := []ClusterEvent{
		{pause(), DrainNode, drained}, {pause(), DeleteNode, lost}, {pause(), AddNode, lost},
		{pause(), NodeNotReady, notReady}, {pause(), NodeReady, notReady},
	}
	if random.IntN(2) == 0 {
		events = append(events, ClusterEvent{After: pause(), Do: SwitchOff}, ClusterEvent{After: pause(), Do: SwitchOn})
	}
	return events
}
