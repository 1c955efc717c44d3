package check

import "time"

// Report contains the figures of a run.
type Report struct {
	Entries, Rounds, CalmRounds, Histories, Pods int
	// Faults and Binds count the faults, by kind. Requests counts the scheduler's requests, by verb. Errors counts
	// those without an answer, and Answers contains the response times. Ended counts processes that exited on their
	// own.
	Faults, Binds, Requests, Ended map[string]int
	Errors                         int
	Answers                        []time.Duration

	// Slots counts the slots of Pods that the extender controls, and Intruders the Pods that took one without it (I1).
	Slots, Intruders int
	// Cloud counts the Pods with a quota that were bound to virtual nodes, and NoLocalNode those of them that fit on no
	// local node (I2).
	Cloud, NoLocalNode int
	// The revisions at the end of a round, by the number of their local replicas: Exact have the minimum of quota and
	// replicas. Fewer have fewer, because local replicas ended and no Pod requested their slots, or because there was
	// no capacity. More have more, because of Pods placed without the extender. Mixed have Pods with different quotas.
	Exact, Fewer, More, Mixed int

	// Given contains the times from a slot becoming free to the answer that gives it to a waiting Pod, and Use those to
	// its binding (I3). UseBehind contains the latter while the scheduler did not keep up, UseDisturbed those during
	// and after faults.
	Given, Use, UseBehind, UseDisturbed []time.Duration
	// CloudSlots counts the Pods that were bound to virtual nodes within the limits of their namespace, and Uncounted
	// those that were bound there without the extender. Limited counts the Pods that wait at the end of a round because
	// of limits (I8).
	CloudSlots, Uncounted, Limited int
	// CloudShares counts the Pods that were bound to virtual nodes within a cap of the cloud, and ShareReached those
	// that wait for it at the end of a round (I9).
	CloudShares, ShareReached int
	// BurstAfter counts the refusals of Pods that wait for burst-after, and StayHome the Pods that wait for local nodes
	// at the end of a round. Burst contains the times from the end of such a wait to the binding (I10).
	BurstAfter, StayHome int
	Burst                []time.Duration
	// Inherited counts the Pods that have the annotations of their workload at the end of a round (I11).
	Inherited int
	// Moves counts the Pods that began their way home, Returned those whose successor is there, and Budgets the
	// evictions under a PodDisruptionBudget (I12).
	Moves, Returned, Budgets int
	// Waiting counts the waiting Pods at the end of a round (I4).
	Waiting int
	// Refusals contains the refusals of each refused Pod, and Attempts those per change (I5).
	Refusals []int
	Attempts []float64
	// Preempting counts the attempts in which the extender allowed preemption.
	Preempting int
	// Evictions counts the evictions by preemption. The others say what happened to the preemptor (I6).
	Evictions, EvictionsFollowed, EvictionsDeleted, EvictionsElsewhere int
	// Unmanaged contains the times from creation to binding of unmanaged Pods. Calls contains for how long of these
	// times calls of the extender were running, and Failed those without an answer (I7).
	Failed                                               []time.Duration
	Unmanaged, Calls, UnmanagedDisturbed, CallsDisturbed []time.Duration
}

func newReport() Report {
	return Report{Faults: map[string]int{}, Binds: map[string]int{}, Requests: map[string]int{},
		Ended: map[string]int{}}
}
