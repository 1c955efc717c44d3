package day

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spillway-k8s/spillway/test/page"
)

// CoreHours returns the billed CPU hours of the day.
func (r Result) CoreHours(f Figures) float64 { return f.CloudSeconds / r.Length.Seconds() * hoursOfDay }

// Table returns the figures in Markdown.
func (r Result) Table() string {
	var b strings.Builder
	b.WriteString(page.Fill(fmt.Sprintf("24 hours in %s, `--seed=%d`; %d local nodes of %s CPUs and one virtual node. "+
		"Of the way home: maxMoves %d, minAge %s, stableFor %s, pause %s, maxPause %s.",
		r.Length, r.Seed, localNodes, localCPU, maxMoves, minAge, stableFor, pause, maxPause)))
	b.WriteString("\n| Workload | Kind | Replicas | Peak at | CPUs of a Pod | Annotations |\n" +
		"|---|---|---|--:|--:|---|\n")
	for _, w := range workloads() {
		var annotations []string
		for _, key := range slices.Sorted(maps.Keys(w.annotations)) {
			annotations = append(annotations, fmt.Sprintf("`%s: %q`", key, w.annotations[key]))
		}
		fmt.Fprintf(&b, "| %s | %s | %d to %d | %.0f:00 | %g | %s |\n", w.name, w.kind, w.least, w.most, w.peak,
			float64(w.milliCPU)/1000, strings.Join(annotations, ", "))
	}
	b.WriteString("\n| | without the way home | with it |\n|---|--:|--:|\n")
	row := func(title string, value func(Figures) string) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", title, value(r.Without), value(r.With))
	}
	number := func(value func(Figures) int) func(Figures) string {
		return func(f Figures) string { return fmt.Sprint(value(f)) }
	}
	row("CPU hours in the cloud", func(f Figures) string { return fmt.Sprintf("%.1f", r.CoreHours(f)) })
	row("Pods bound to the virtual node", number(func(f Figures) int { return f.CloudPods }))
	row("Pods moved home", func(f Figures) string { return f.moved() })
	row("moves that were undone", number(func(f Figures) int { return f.Undone }))
	row("moves of a workload within its pause", number(func(f Figures) int { return f.Early }))
	row("evictions, also those of the drain", number(func(f Figures) int { return f.Evictions }))
	row("Ready Pods minus those that the PodDisruptionBudget demands, lowest after an eviction",
		func(f Figures) string { return margin(f.AfterEviction) })
	row("the same, lowest at any instant while a workload had all its replicas",
		func(f Figures) string { return margin(f.Settled) })
	row("requests of the client", number(func(f Figures) int { return f.Requests }))
	row("requests that failed", func(f Figures) string { return f.failed() })
	without, with := r.CoreHours(r.Without), r.CoreHours(r.With)
	if without > 0 {
		b.WriteString("\n" + page.Fill(fmt.Sprintf("With the way home, the cloud billed %.0f %% of the CPU hours: "+
			"%.1f of %.1f.", 100*with/without, with, without)))
	}
	return b.String()
}

// moved returns the moves with their workloads.
func (f Figures) moved() string {
	total := 0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.Moved)) {
		total += f.Moved[name]
		parts = append(parts, fmt.Sprintf("%s %d", name, f.Moved[name]))
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}

// failed returns the failed requests with their reasons.
func (f Figures) failed() string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(f.Failed)) {
		parts = append(parts, fmt.Sprintf("%d: %s", f.Failed[why], why))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}

func margin(value int) string {
	if value == unknownMargin {
		return "-"
	}
	return fmt.Sprintf("%+d", value)
}
