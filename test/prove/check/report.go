package check

import "time"

// Report is a run in figures.
type Report struct {
	Entries, Rounds, CalmRounds, Histories, Pods int
	// Faults and Binds are the disturbances that were played, by kind; Questions those of the scheduler, by verb, of which Errors had no
	// answer, and Answers how long they took; Ended are processes that ended by themselves.
	Faults, Binds, Questions, Ended map[string]int
	Errors                          int
	Answers                         []time.Duration

	// Slots were taken by Pods that the extender answers for, and Intruders took a place past it (I1).
	Slots, Intruders int
	// Cloud Pods with a quota were bound to virtual nodes, NoRoom of them because no local node fitted (I2).
	Cloud, NoRoom int
	// Revisions at the end of a round, by what is at home: Exact the smaller of quota and replicas; Fewer, since local replicas went and
	// nobody asked for their slots, or there was no room; More, since Pods came past the extender; Mixed, where Pods of the revision have
	// different quotas.
	Exact, Fewer, More, Mixed int

	// Given are the times from a slot's becoming free to the answer that gives it to another where a Pod waited, Use those to the binding (I3),
	// UseBehind the latter while the scheduler did not keep up with new Pods, UseDisturbed around faults.
	Given, Use, UseBehind, UseDisturbed []time.Duration
	// Waiting Pods at the end of a round (I4).
	Waiting int
	// Refusals of each refused Pod, and Attempts, those for each change (I5).
	Refusals []int
	Attempts []float64
	// Preempting are attempts after which the scheduler was let evict others.
	Preempting int
	// Evictions by preemption, and what became of the Pod that each was for (I6).
	Evictions, EvictionsFollowed, EvictionsDeleted, EvictionsElsewhere int
	// Plain are the times from creation to binding of Pods without a key, and Held how much of them the extender was asked (I7), InVain how much
	// it was asked for no answer.
	InVain                                     []time.Duration
	Plain, Held, PlainDisturbed, HeldDisturbed []time.Duration
}

func newReport() Report {
	return Report{Faults: map[string]int{}, Binds: map[string]int{}, Questions: map[string]int{}, Ended: map[string]int{}}
}
