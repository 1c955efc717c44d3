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

// tables are the figures of a run in Markdown.
func tables(r *check.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d histories in %d rounds, %d of them calm: %d Pods, %d entries in the record.\n", r.Histories, r.Rounds, r.CalmRounds, r.Pods, r.Entries)
	fmt.Fprintf(&b, "\n| fault | times |\n|---|--:|\n")
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "| %s | %d |\n", kind, r.Faults[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Binds)) {
		fmt.Fprintf(&b, "| one bind %s | %d |\n", kind, r.Binds[kind])
	}
	for _, process := range slices.Sorted(maps.Keys(r.Ended)) {
		fmt.Fprintf(&b, "| %s has ended by itself | %d |\n", process, r.Ended[process])
	}
	fmt.Fprintf(&b, "\n| promise | figure | |\n|---|---|--:|\n")
	row := func(promise, figure string, value any) { fmt.Fprintf(&b, "| %s | %s | %v |\n", promise, figure, value) }
	row("I1", "slots given", r.Slots)
	row("I1", "Pods that took a place past the extender", r.Intruders)
	row("I2", "Pods with a quota sent to the cloud", r.Cloud)
	row("I2", "of them because no local node fitted", r.NoRoom)
	row("I2", "revisions that ended with exactly min(N, replicas) at home", r.Exact)
	row("I2", "with fewer: no room, or a local replica went and nobody asked for its slot", r.Fewer)
	row("I2", "with more, through Pods past the extender", r.More)
	row("I2", "with Pods of different quotas", r.Mixed)
	row("I4", "Pods waiting with a reason at the end of a round", r.Waiting)
	row("I5", "attempts that the scheduler was let evict others in", r.Preempting)
	row("I6", "Pods evicted by preemption", r.Evictions)
	row("I6", "followed by the preemptor / it was deleted / at home elsewhere", fmt.Sprintf("%d / %d / %d", r.EvictionsFollowed, r.EvictionsDeleted, r.EvictionsElsewhere))
	for _, verb := range slices.Sorted(maps.Keys(r.Questions)) {
		row("", "questions: "+verb, r.Questions[verb])
	}
	row("", "questions without an answer", r.Errors)
	fmt.Fprintf(&b, "\n| distribution | count | p50 | p90 | p99 | max |\n|---|--:|--:|--:|--:|--:|\n")
	distribution(&b, "I3: a slot became free to the answer that gives it away, no fault", r.Given)
	distribution(&b, "I3: a slot became free to the binding of who takes it, no fault", r.Use)
	distribution(&b, "I3: the same while the scheduler is behind", r.UseBehind)
	distribution(&b, "I3: the same around faults", r.UseDisturbed)
	distribution(&b, "I5: refusals of a refused Pod", r.Refusals)
	distribution(&b, "I5: refusals for each change", r.Attempts)
	distribution(&b, "I7: Pod without a key created to bound, no fault", r.Plain)
	distribution(&b, "I7: of it, answers of the extender to others", r.Held)
	distribution(&b, "I7: created to bound around faults", r.PlainDisturbed)
	distribution(&b, "I7: of it, answers of the extender to others", r.HeldDisturbed)
	distribution(&b, "I7: of it, questions without an answer", r.InVain)
	distribution(&b, "answers of the extender", r.Answers)
	return b.String()
}

func distribution[T cmp.Ordered](b *strings.Builder, name string, values []T) {
	if len(values) == 0 {
		fmt.Fprintf(b, "| %s | 0 | – | – | – | – |\n", name)
		return
	}
	fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s |\n", name, len(values),
		short(quantile(values, 0.5)), short(quantile(values, 0.9)), short(quantile(values, 0.99)), short(slices.Max(values)))
}

// quantile is the smallest value that the given share of the values does not exceed (nearest rank). There must be a value.
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
