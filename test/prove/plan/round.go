package plan

import (
	"math/rand/v2"
	"time"
)

// Round is a part of a run: many histories at once, and what the cluster goes through meanwhile.
type Round struct {
	Number int
	// Calm rounds have no faults: what is promised for ordinary times is measured in them.
	Calm      bool
	Workloads []Workload
	Weather   []Event
	// Faults are several series that are played side by side.
	Faults [][]Disturbance
}

// Weather is what happens to the cluster itself.
type Weather string

const (
	SwitchOff Weather = "switch off"
	SwitchOn  Weather = "switch on"
	// Drain cordons a node, evicts its Pods and lets it be used again.
	Drain Weather = "drain node"
	// Lose deletes a node; AddNode makes it again.
	Lose    Weather = "lose node"
	AddNode Weather = "add node"
	// Sicken has a node say that it is not ready; Recover that it is again.
	Sicken  Weather = "node not ready"
	Recover Weather = "node ready again"
)

// Event is weather at a time.
type Event struct {
	After time.Duration
	Do    Weather
	// Node is the number of the node, where there is one.
	Node int
}

// Size is how large rounds are.
type Size struct {
	// Workloads is how many histories a round has, Burst how many replicas the one workload has that comes in a burst.
	Workloads, Burst int
	// WideNodes and TightNodes are how many nodes with room there are, and small ones.
	WideNodes, TightNodes int
	// Patient is how many workloads come last and wait for slots.
	Patient int
	// Faults is how often each fault comes in a round that is not calm.
	Faults int
	// Service is set where several extenders elect a leader.
	Service bool
	// Within is how long it takes until the last workload has begun.
	Within time.Duration
}

// Planner draws one round after another.
type Planner struct {
	random *rand.Rand
	size   Size
	number int
}

// New makes a Planner of the plan that belongs to the seed.
func New(seed uint64, size Size) *Planner {
	return &Planner{random: rand.New(rand.NewPCG(seed, 0)), size: size}
}

// Next draws a round. Every fourth, from the first, is calm.
func (p *Planner) Next() Round {
	round := Round{Number: p.number, Calm: p.number%4 == 0}
	p.number++
	// Each round has a source of its own: a change of one changes no other.
	random := rand.New(rand.NewPCG(p.random.Uint64(), p.random.Uint64()))
	size := p.size
	for node := range size.TightNodes {
		round.Workloads = append(round.Workloads, drawDuel(random, len(round.Workloads), node, size.Within)...)
	}
	if size.Burst > 0 {
		round.Workloads = append(round.Workloads, drawBurst(random, len(round.Workloads), size.Burst, size.Within))
	}
	for range size.Patient {
		round.Workloads = append(round.Workloads, drawPatient(random, len(round.Workloads), size.Within, round.Calm))
	}
	for len(round.Workloads) < size.Workloads {
		round.Workloads = append(round.Workloads, drawWorkload(random, len(round.Workloads), size.Within))
	}
	round.Weather = drawWeather(random, size)
	if !round.Calm {
		for _, kinds := range [][]Fault{programFaults(size.Service), apiServerFaults(), networkFaults()} {
			round.Faults = append(round.Faults, drawFaults(random, kinds, size.Faults))
		}
	}
	return round
}

// drawWeather draws a drain, a node that is lost and comes back, one that is not ready for a while, and flips of the switch.
func drawWeather(random *rand.Rand, size Size) []Event {
	drained := random.IntN(size.WideNodes)
	lost := (drained + 1 + random.IntN(max(size.WideNodes-1, 1))) % size.WideNodes
	pause := func() time.Duration { return upTo(random, size.Within/3) }
	sick := random.IntN(size.WideNodes)
	events := []Event{
		{pause(), Drain, drained}, {pause(), Lose, lost}, {pause(), AddNode, lost}, {pause(), Sicken, sick}, {pause(), Recover, sick},
	}
	if random.IntN(2) == 0 {
		events = append(events, Event{After: pause(), Do: SwitchOff}, Event{After: pause(), Do: SwitchOn})
	}
	return events
}
