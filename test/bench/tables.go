package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/test/page"
)

// sections are the measured sections of the document, in their order.
var sections = []string{"throughput", "filter", "slot", "creation", "cloud", "day"}

// sectionsOf are the sections of each part.
var sectionsOf = map[string][]string{
	partScheduling: {"throughput"}, partFilter: {"filter", "slot"}, partCreation: {"creation"}, partCloud: {"cloud"},
	partDay: {"day"},
}

// tables returns the measured sections of the document in Markdown. The summary below each table is computed from its
// figures. Each section says when and where it was measured, because the others may be of another run.
func (r *results) tables() map[string]string {
	tables := map[string]string{}
	add := func(part, section, table string) { tables[section] = table + "\n" + r.machineText(part) }
	if r.options.measures(partScheduling) {
		add(partScheduling, "throughput", r.throughputTable())
	}
	if r.options.measures(partFilter) {
		add(partFilter, "filter", r.answers.table())
		add(partFilter, "slot", r.writes.table())
	}
	if r.options.measures(partCreation) {
		add(partCreation, "creation", creationTable(r.creation))
	}
	if r.options.measures(partCloud) {
		add(partCloud, "cloud", cloudTable(r.cloud))
	}
	if r.options.measures(partDay) {
		add(partDay, "day", r.day.Table())
	}
	return tables
}

func (r *results) machineText(part string) string {
	m := r.machine
	return page.Fill(fmt.Sprintf("Measured %s at commit %s on %d CPUs (%s) and %s of memory, which all processes share; "+
		"%s, Kubernetes %s. Meanwhile other work used %s of the machine.",
		m.date.UTC().Format("2006-01-02 15:04 MST"), r.options.Commit, m.cpus, m.model, m.memory, m.goVersion, m.kubernetes,
		percent(r.others[part])))
}

// floors are the cases a, b and c, with which all are compared.
var floors = []string{floorDefault, floorAllNodes, floorNoOp}

func (r *results) throughputTable() string {
	var b strings.Builder
	o := r.options
	b.WriteString(page.Fill(fmt.Sprintf("%d Pods of %d ReplicaSets, %d local and %d virtual nodes, %d measurements of "+
		"each case; "+
		"the quota is %d of %d replicas.",
		o.Pods, o.Revisions, o.Nodes, o.VirtualNodes, o.Rounds, o.Quota, o.Pods/o.Revisions)) + "\n")
	b.WriteString("| Case | filter calls | Pods/s best | median | worst | ÷ a, best / median | ÷ b | ÷ c | CPU ms " +
		"per Pod " +
		"| CPU used by others |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.throughput {
		rates := row.rates()
		fmt.Fprintf(&b, "| %s | %d | %.0f | %.0f | %.0f |",
			row.title, row.measurements[0].calls, slices.Max(rates), median(rates), slices.Min(rates))
		for _, floor := range floors {
			fmt.Fprintf(&b, " %s |", row.ratios(r.floor(floor)))
		}
		fmt.Fprintf(&b, " %s | %s |\n", millis(quantile(row.cpu(), 0.5)), percent(median(row.others())))
	}
	return b.String() + r.throughputSummary()
}

// floor returns the case, or nil if it was not measured.
func (r *results) floor(key string) *bindingResult {
	for i := range r.throughput {
		if r.throughput[i].key == key {
			return &r.throughput[i]
		}
	}
	return nil
}

func (r bindingResult) rates() []float64 {
	return each(r.measurements, func(m measurement) float64 { return m.rate })
}

func (r bindingResult) others() []float64 {
	return each(r.measurements, func(m measurement) float64 { return m.others })
}

func (r bindingResult) cpu() []time.Duration {
	return each(r.measurements, func(m measurement) time.Duration { return m.cpu })
}

func each[T any](measurements []measurement, take func(measurement) T) []T {
	values := make([]T, len(measurements))
	for i, m := range measurements {
		values[i] = take(m)
	}
	return values
}

// ratios returns the ratios of the best and of the median rates.
func (r bindingResult) ratios(floor *bindingResult) string {
	if floor == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f / %.2f", r.ratio(floor), median(r.rates())/median(floor.rates()))
}

// ratio returns the ratio of the best rates.
func (r bindingResult) ratio(floor *bindingResult) float64 {
	return slices.Max(r.rates()) / slices.Max(floor.rates())
}

// throughputSummary summarizes the table, if all that it compares was measured.
func (r *results) throughputSummary() string {
	sampled, all, noOp := r.floor(floorDefault), r.floor(floorAllNodes), r.floor(floorNoOp)
	plain, quota, every := r.floor("plain"), r.floor("quota"), r.floor("every-pod")
	if slices.Contains([]*bindingResult{sampled, all, noOp, plain, quota, every}, nil) {
		return ""
	}
	return "\n" + page.Fill(fmt.Sprintf("By the best rates, which other work on the machine affects least: Spillway "+
		"needs the "+
		"scheduler to score every node, which binds Pods at %s of the default rate. Relative to that, unmanaged Pods "+
		"are bound "+
		"at %s, Pods with a quota at %s, and all Pods at %s if Spillway is called for every Pod. With a no-op "+
		"extender that is "+
		"called for every Pod it is %s. All %d revisions had exactly %d local replicas in every round.",
		percent(all.ratio(sampled)), percent(plain.ratio(all)), percent(quota.ratio(all)), percent(every.ratio(all)),
		percent(noOp.ratio(all)), r.options.Revisions, r.options.Quota))
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func (a answerResults) table() string {
	var b strings.Builder
	b.WriteString("| Names | Pod | no-op: p50 | p99 | mean | Spillway: p50 | p99 | mean " +
		"| Spillway ÷ no-op, p50 / p99 / mean |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range a.rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n",
			r.names, r.title, spread(r.noOp), spread(r.ours), ratios(r.ours, r.noOp))
	}
	last := a.rows[len(a.rows)-3:]
	b.WriteString("\n" + page.Fill(fmt.Sprintf("In milliseconds, over %d calls each, as kube-scheduler waits for "+
		"them: encoding, "+
		"sending, waiting and decoding. With %d names, a call for an unmanaged Pod takes %.2f of the time of the "+
		"no-op extender, "+
		"for a Pod above its quota %.2f, and for a Pod with a slot %.2f. TCP connections: %d for %d calls of the "+
		"no-op extender, "+
		"%d for %d calls of Spillway.", len(last[0].ours), last[0].names,
		last[0].ratio(), last[1].ratio(), last[2].ratio(), a.noOpConnections, a.noOpCalls,
		a.oursConnections, a.oursCalls)))
	return b.String()
}

// ratio returns the ratio of the medians.
func (r *answerRow) ratio() float64 { return ratio(quantile(r.ours, 0.5), quantile(r.noOp, 0.5)) }

func (w writeResult) table() string {
	var b strings.Builder
	b.WriteString("| | p50 | p99 | mean |\n|---|--:|--:|--:|\n")
	for _, row := range []struct {
		title string
		times []time.Duration
	}{
		{"patch of an annotation, sent by the benchmark", w.patch},
		{"first call for a Pod below its quota, which writes the slot", w.first},
		{"later call for the same Pod, which has its slot", w.again},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row.title, spread(row.times))
	}
	cost := w.cost()
	b.WriteString("\n" + page.Fill(fmt.Sprintf("In milliseconds, over %d Pods, with %d names. By the medians, a slot "+
		"costs %s ms "+
		"once, which is %.2f of a bare patch. Only local replicas of a quota cost that, not Pods that go to the cloud "+
		"or have no "+
		"quota.", len(w.first), w.names, millis(cost), ratio(cost, quantile(w.patch, 0.5)))))
	return b.String()
}

// cost is what a slot costs once, by the medians.
func (w writeResult) cost() time.Duration { return quantile(w.first, 0.5) - quantile(w.again, 0.5) }

// creationTable compares each case with the first one of the same kind of Pod.
func creationTable(results []creationResult) string {
	var b strings.Builder
	b.WriteString("| Pod | Webhooks | p50 | p99 | mean | ÷ not registered, p50 / p99 / mean " +
		"| Pods/s, 20 concurrently: best | median | ÷ not registered, best / median |\n" +
		"|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	var floor creationResult
	for _, r := range results {
		if r.webhooks == noWebhook {
			floor = r
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.0f | %.0f | %.2f / %.2f |\n",
			r.pod, r.title, spread(r.alone), ratios(r.alone, floor.alone), slices.Max(r.rates), median(r.rates),
			slices.Max(r.rates)/slices.Max(floor.rates), median(r.rates)/median(floor.rates))
	}
	b.WriteString("\n" + page.Fill(fmt.Sprintf("In milliseconds, over %d creations each, one after another; then %d "+
		"times as many, "+
		"%d concurrently, in %d rounds. The benchmark checks that admission is called for each Pod as the table says.",
		len(results[0].alone), atOnce, creators, len(results[0].rates))))
	return b.String() + creationSummary(results)
}

// creationSummary returns what the match conditions and the calls cost, by the medians.
func creationSummary(results []creationResult) string {
	cost := func(i, floor int) string {
		return millis(quantile(results[i].alone, 0.5) - quantile(results[floor].alone, 0.5))
	}
	return "\n" + page.Fill(fmt.Sprintf("By the medians, the match conditions cost %s ms for a Pod for which "+
		"admission is not "+
		"called. One call costs %s ms for an unmanaged Pod of a ReplicaSet, and %s ms for one with a quota. A Pod "+
		"that a user "+
		"creates with a burst label costs %s ms, and %s ms with validation.",
		cost(1, 0), cost(3, 2), cost(5, 4), cost(7, 6), cost(8, 6)))
}

// ratios returns the ratios of the median, the 99th percentile and the mean.
func ratios(a, b []time.Duration) string {
	return fmt.Sprintf("%.2f / %.2f / %.2f", ratio(quantile(a, 0.5), quantile(b, 0.5)),
		ratio(quantile(a, 0.99), quantile(b, 0.99)), ratio(mean(a), mean(b)))
}

// spread returns three cells: median, 99th percentile and mean.
func spread(times []time.Duration) string {
	return fmt.Sprintf("%s | %s | %s", millis(quantile(times, 0.5)), millis(quantile(times, 0.99)), millis(mean(times)))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
