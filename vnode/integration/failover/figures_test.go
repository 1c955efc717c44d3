package failover

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// measure is what was measured in a round: how long a process that left had no successor that was ready, so that no
// status was written, and how long a Pod that was created when it left took until it was Ready.
type measure struct{ without, fresh time.Duration }

// figures are what was measured and seen in the rounds of one kind.
type figures struct {
	kind     string
	measures []measure
	// lost is how many endpoints the Service lost at most.
	lost int
}

// table shows figures in seconds: the shortest, the median and the longest.
func table(all []*figures) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\trounds\twithout status\ta new Pod is Ready\tendpoints lost")
	for _, f := range all {
		if len(f.measures) == 0 {
			continue // Its first round failed.
		}
		three := func(of func(measure) time.Duration) string {
			var sorted []time.Duration
			for _, m := range f.measures {
				sorted = append(sorted, of(m))
			}
			slices.Sort(sorted)
			last := len(sorted) - 1
			return fmt.Sprintf("%.1f, %.1f, %.1f", sorted[0].Seconds(),
				(sorted[last/2]+sorted[(last+1)/2]).Seconds()/2, sorted[last].Seconds())
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\n", f.kind, len(f.measures),
			three(func(m measure) time.Duration { return m.without }),
			three(func(m measure) time.Duration { return m.fresh }), f.lost)
	}
	_ = w.Flush() // A strings.Builder returns no error.
	return text.String()
}
