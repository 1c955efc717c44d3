package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/test/prove/check"
)

// tables returns the figures of a run in Markdown. docs/prove.md contains them.
func tables(r *check.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d histories in %d rounds, %d of them calm: %d Pods, %d entries in the record.\n",
		r.Histories, r.Rounds, r.CalmRounds, r.Pods, r.Entries)
	fmt.Fprintf(&b, "\n| fault | times |\n|---|--:|\n")
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "| %s | %d |\n", kind, r.Faults[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Binds)) {
		fmt.Fprintf(&b, "| one bind %s | %d |\n", kind, r.Binds[kind])
	}
	for _, process := range slices.Sorted(maps.Keys(r.Ended)) {
		fmt.Fprintf(&b, "| %s exited on its own | %d |\n", process, r.Ended[process])
	}
	fmt.Fprintf(&b, "\n| promise | figure | |\n|---|---|--:|\n")
	row := func(promise, figure string, value any) { fmt.Fprintf(&b, "| %s | %s | %v |\n", promise, figure, value) }
	row("I1", "slots given", r.Slots)
	row("I1", "Pods that took a slot without the extender", r.Intruders)
	row("I2", "Pods with a quota sent to the cloud", r.Cloud)
	row("I2", "of these, because no local node fit", r.NoLocalNode)
	row("I2", "revisions that ended with exactly min(N, replicas) local replicas", r.Exact)
	row("I2", "with fewer: no capacity, or a local replica ended and no Pod requested its slot", r.Fewer)
	row("I2", "with more, because of Pods placed without the extender", r.More)
	row("I2", "with Pods of different quotas", r.Mixed)
	row("I4", "Pods waiting with a reason at the end of a round", r.Waiting)
	row("I5", "attempts in which the extender allowed preemption", r.Preempting)
	row("I6", "Pods evicted by preemption", r.Evictions)
	row("I6", "followed by the preemptor / preemptor deleted / preemptor on another local node",
		fmt.Sprintf("%d / %d / %d", r.EvictionsFollowed, r.EvictionsDeleted, r.EvictionsElsewhere))
	row("I8", "Pods sent to the cloud within the limits of their namespace", r.CloudSlots)
	row("I8", "Pods bound to virtual nodes without the extender", r.Uncounted)
	row("I8", "Pods waiting because of the limits at the end of a round", r.Limited)
	row("I9", "Pods sent to the cloud within the cap of their revision", r.CloudShares)
	row("I9", "Pods waiting because of that cap at the end of a round", r.ShareReached)
	row("I10", "refusals of Pods that wait for burst-after", r.BurstAfter)
	row("I10", "Pods waiting for local nodes at the end of a round", r.StayHome)
	row("I11", "Pods with the annotations of their workload at the end of a round", r.Inherited)
	row("I12", "Pods that began their way home / that returned", fmt.Sprintf("%d / %d", r.Moves, r.Returned))
	row("I12", "evictions under a PodDisruptionBudget", r.Budgets)
	for _, verb := range slices.Sorted(maps.Keys(r.Requests)) {
		row("", "requests: "+verb, r.Requests[verb])
	}
	row("", "requests without an answer", r.Errors)
	fmt.Fprintf(&b, "\n| distribution | count | p50 | p90 | p99 | max |\n|---|--:|--:|--:|--:|--:|\n")
	distribution(&b, "I3: from a slot becoming free to the answer that gives it to a Pod, no fault", r.Given)
	distribution(&b, "I3: from a slot becoming free to the binding of the Pod that takes it, no fault", r.Use)
	distribution(&b, "I3: from the end of burst-after to the binding of the Pod, no fault", r.Burst)
	distribution(&b, "I3: the same while the scheduler is behind", r.UseBehind)
	distribution(&b, "I3: the same during and after faults", r.UseDisturbed)
	distribution(&b, "I5: refusals of a refused Pod", r.Refusals)
	distribution(&b, "I5: refusals per change", r.Attempts)
	distribution(&b, "I7: unmanaged Pod, from creation to binding, no fault", r.Unmanaged)
	distribution(&b, "I7: of that, calls of the extender for other Pods", r.Calls)
	distribution(&b, "I7: the same during and after faults", r.UnmanagedDisturbed)
	distribution(&b, "I7: of that, calls of the extender for other Pods", r.CallsDisturbed)
	distribution(&b, "I7: of that, calls without an answer", r.Failed)
	distribution(&b, "response time of the extender", r.Answers)
	return b.String()
}

func distribution[T cmp.Ordered](b *strings.Builder, name string, values []T) {
	if len(values) == 0 {
		fmt.Fprintf(b, "| %s | 0 | – | – | – | – |\n", name)
		return
	}
	fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s |\n", name, len(values),
		short(quantile(values, 0.5)), short(quantile(values, 0.9)), short(quantile(values, 0.99)),
		short(slices.Max(values)))
}

// quantile returns the smallest value that the given share of the values does not exceed (nearest rank). There must be
// a value.
func quantile[T cmp.Ordered](values []T, share float64) T {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func short(value any) string {
	switch v := value.(type) {
	case time.Duration:
		return fmt.Sprintf("%.3f s", v.Seconds())
	case float64:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprint(v)
	}
}
