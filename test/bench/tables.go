package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// sections are the measured parts of the document, in their order.
var sections = []string{"machine", "throughput", "filter", "slot", "creation", "cloud"}

// tables are the sections of the document that were measured, in Markdown. What stands below each table is made from its figures. Where not
// all was measured, the machine is described with each table, since what the page says of it is about another run.
func (r *results) tables() map[string]string {
	tables := map[string]string{}
	if r.options.measures(partScheduling) {
		tables["throughput"] = r.throughputTable()
	}
	if r.options.measures(partFilter) {
		tables["filter"], tables["slot"] = r.answers.table(), r.writes.table()
	}
	if r.options.measures(partCreation) {
		tables["creation"] = creationTable(r.creation)
	}
	if r.options.measures(partCloud) {
		tables["cloud"] = cloudTable(r.cloud)
	}
	if len(r.options.Parts) == len(parts) {
		tables["machine"] = r.machineTable()
		return tables
	}
	for section := range tables {
		tables[section] += "\n" + r.machineTable()
	}
	return tables
}

func (r *results) machineTable() string {
	m := r.machine
	return fmt.Sprintf("Measured %s on %d CPUs (%s) and %s of memory, which all processes share; %s, Kubernetes %s. "+
		"Load average over 1, 5 and 15 minutes before the run: %s; at its end, its own work included: %s.\n",
		m.date.UTC().Format("2006-01-02 15:04 MST"), m.cpus, m.model, m.memory, m.goVersion, m.kubernetes, m.loadBefore, m.loadAfter)
}

// floors are the cases a, b and c, which all are compared with.
var floors = []string{floorDefault, floorAllNodes, floorNoOp}

func (r *results) throughputTable() string {
	var b strings.Builder
	o := r.options
	fmt.Fprintf(&b, "%d Pods of %d ReplicaSets, %d local and %d virtual nodes, %d measurements of each case; the quota is %d of %d replicas.\n\n",
		o.Pods, o.Revisions, o.Nodes, o.VirtualNodes, o.Rounds, o.Quota, o.Pods/o.Revisions)
	b.WriteString("| Case | filter asked | Pods/s best | median | worst | ÷ a, best / median | ÷ b | ÷ c | CPU ms per Pod | CPU for others |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.throughput {
		rates := row.rates()
		fmt.Fprintf(&b, "| %s | %d | %.0f | %.0f | %.0f |", row.title, row.measurements[0].asked, slices.Max(rates), median(rates), slices.Min(rates))
		for _, floor := range floors {
			fmt.Fprintf(&b, " %s |", row.ratios(r.floor(floor)))
		}
		fmt.Fprintf(&b, " %s | %s |\n", millis(quantile(row.cpu(), 0.5)), percent(median(row.others())))
	}
	return b.String() + r.throughputWords()
}

// floor finds the case; nil where it was not measured.
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

// ratios are those of the best and of the median rates.
func (r bindingResult) ratios(floor *bindingResult) string {
	if floor == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f / %.2f", r.ratio(floor), median(r.rates())/median(floor.rates()))
}

// ratio is that of the best rates.
func (r bindingResult) ratio(floor *bindingResult) float64 {
	return slices.Max(r.rates()) / slices.Max(floor.rates())
}

// throughputWords say what the table says, where all that they compare was measured.
func (r *results) throughputWords() string {
	sampled, all, noOp := r.floor(floorDefault), r.floor(floorAllNodes), r.floor(floorNoOp)
	plain, quota, every := r.floor("plain"), r.floor("quota"), r.floor("every-pod")
	if slices.Contains([]*bindingResult{sampled, all, noOp, plain, quota, every}, nil) {
		return ""
	}
	return fmt.Sprintf("\nBy the best rates, which other work disturbed least: scoring every node, which Spillway needs to see its virtual nodes, leaves %s of the speed of the default. Next to that, "+
		"Pods without a key are bound at %s of the speed, Pods with a quota at %s, and with Spillway asked about every Pod it is %s; a no-op "+
		"extender that is asked about every Pod leaves %s. All %d revisions kept exactly %d replicas on local nodes in every round.\n",
		percent(all.ratio(sampled)), percent(plain.ratio(all)), percent(quota.ratio(all)), percent(every.ratio(all)), percent(noOp.ratio(all)),
		r.options.Revisions, r.options.Quota)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func (a answerResults) table() string {
	var b strings.Builder
	b.WriteString("| Names | Pod | no-op: p50 | p99 | mean | Spillway: p50 | p99 | mean | Spillway ÷ no-op, p50 / p99 / mean |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range a.rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %.2f / %.2f / %.2f |\n", r.names, r.title, spread(r.noOp), spread(r.ours),
			ratio(quantile(r.ours, 0.5), quantile(r.noOp, 0.5)), ratio(quantile(r.ours, 0.99), quantile(r.noOp, 0.99)), ratio(mean(r.ours), mean(r.noOp)))
	}
	last := a.rows[len(a.rows)-3:]
	fmt.Fprintf(&b, "\nMilliseconds, of %d answers each, as kube-scheduler waits for them: encoding, sending, waiting, decoding. At %d names a Pod without a key "+
		"takes %.2f of the time of an extender that does nothing, one above its quota %.2f and one with its slot %.2f. TCP connections: %d for "+
		"the %d questions to the no-op extender, %d for the %d to Spillway.\n", len(last[0].ours), last[0].names,
		last[0].ratio(), last[1].ratio(), last[2].ratio(), a.noOpConnections, a.noOpAsked, a.oursConnections, a.oursAsked)
	return b.String()
}

// ratio is that of the medians.
func (r *answerRow) ratio() float64 { return ratio(quantile(r.ours, 0.5), quantile(r.noOp, 0.5)) }

func (w writeResult) table() string {
	var b strings.Builder
	b.WriteString("| | p50 | p99 | mean |\n|---|--:|--:|--:|\n")
	for _, row := range []struct {
		title string
		times []time.Duration
	}{
		{"a patch of an annotation, sent to the API server by the bench", w.patch},
		{"first answer about a Pod below its quota: the slot is written", w.first},
		{"later answer about the same Pod: the slot is there", w.again},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row.title, spread(row.times))
	}
	cost := quantile(w.first, 0.5) - quantile(w.again, 0.5)
	fmt.Fprintf(&b, "\nMilliseconds, of %d Pods, with %d names. By the medians a slot costs %s ms once, %.2f of a bare patch: each local replica of a quota pays it, "+
		"Pods that go to the cloud and Pods without a quota do not.\n", len(w.first), w.names, millis(cost), ratio(cost, quantile(w.patch, 0.5)))
	return b.String()
}

// creationTable compares each case with the first of its kind of Pod.
func creationTable(results []creationResult) string {
	var b strings.Builder
	b.WriteString("| Pod | Webhooks | p50 | p99 | mean | ÷ not registered, p50 / p99 / mean | Pods/s, 20 at once: best | median | ÷ not registered, best / median |\n" +
		"|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	var floor creationResult
	for _, r := range results {
		if r.webhooks == noWebhook {
			floor = r
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f / %.2f / %.2f | %.0f | %.0f | %.2f / %.2f |\n", r.pod, r.title, spread(r.alone),
			ratio(quantile(r.alone, 0.5), quantile(floor.alone, 0.5)), ratio(quantile(r.alone, 0.99), quantile(floor.alone, 0.99)), ratio(mean(r.alone), mean(floor.alone)),
			slices.Max(r.rates), median(r.rates), slices.Max(r.rates)/slices.Max(floor.rates), median(r.rates)/median(floor.rates))
	}
	fmt.Fprintf(&b, "\nMilliseconds, of %d creations each, one after another; then %d times as many, %d at once, in %d rounds. Admission was called for each Pod where "+
		"the table says so, and for no other.\n", len(results[0].alone), atOnce, creators, len(results[0].rates))
	return b.String() + creationWords(results)
}

// creationWords say by the medians what a Pod pays for being looked at, and what for a call.
func creationWords(results []creationResult) string {
	cost := func(i, floor int) string {
		return millis(quantile(results[i].alone, 0.5) - quantile(results[floor].alone, 0.5))
	}
	return fmt.Sprintf("\nBy the medians a Pod that admission is not called for pays %s ms for the conditions, a Pod of a ReplicaSet without a key %s ms for one call, and one with "+
		"a quota %s ms. A Pod that a user makes by hand with a burst label pays %s ms, and %s ms where it is validated too.\n",
		cost(1, 0), cost(3, 2), cost(5, 4), cost(7, 6), cost(8, 6))
}

// spread is three cells: median, 99th percentile and mean.
func spread(times []time.Duration) string {
	return fmt.Sprintf("%s | %s | %s", millis(quantile(times, 0.5)), millis(quantile(times, 0.99)), millis(mean(times)))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
