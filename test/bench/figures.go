package main

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// figure is a measured value beside its floor from the same run.
type figure struct {
	part, measure, unit string
	floor, ours         float64
}

// ratio compares the figures of different machines and days, which floor and ours cannot.
func (f figure) ratio() float64 { return f.ours / f.floor }

// figures returns what history keeps and what ranges bound. Names of measures must stay: history has them.
func (r *results) figures() []figure {
	var all []figure
	add := func(part, measure, unit string, floor, ours float64) {
		all = append(all, figure{part: part, measure: measure, unit: unit, floor: floor, ours: ours})
	}
	for _, row := range r.throughput {
		for _, key := range floors {
			floor := r.floor(key)
			if floor == nil || slices.Contains(floors, row.key) {
				continue
			}
			add(partScheduling, row.key+" ÷ "+key, "Pods/s", median(floor.rates()), median(row.rates()))
			add(partScheduling, row.key+" ÷ "+key+", CPU", "ms",
				inMillis(quantile(floor.cpu(), 0.5)), inMillis(quantile(row.cpu(), 0.5)))
		}
	}
	for _, row := range r.answers.rows {
		add(partFilter, fmt.Sprintf("filter, %d names, %s, p50", row.names, row.title), "ms",
			inMillis(quantile(row.noOp, 0.5)), inMillis(quantile(row.ours, 0.5)))
	}
	if len(r.writes.patch) > 0 {
		add(partFilter, "slot, p50", "ms", inMillis(quantile(r.writes.patch, 0.5)), inMillis(r.writes.cost()))
	}
	var floor creationResult
	for _, row := range r.creation {
		if row.webhooks == noWebhook {
			floor = row
			continue
		}
		measure := fmt.Sprintf("%s, %s", row.pod, row.title)
		add(partCreation, measure+", p50", "ms", inMillis(quantile(floor.alone, 0.5)), inMillis(quantile(row.alone, 0.5)))
		add(partCreation, measure+", 20 concurrently", "Pods/s", median(floor.rates), median(row.rates))
	}
	for _, row := range r.cloud {
		add(partCloud, fmt.Sprintf("%d Pods on %d virtual nodes", row.pods, row.nodes), "s",
			row.floor.Seconds(), row.running.Seconds())
		add(partCloud, fmt.Sprintf("%d Pods on %d virtual nodes, requests to the cluster", row.pods, row.nodes), "a Pod",
			1, row.clusterCalls)
		add(partCloud, fmt.Sprintf("%d Pods on %d virtual nodes, requests to the cloud", row.pods, row.nodes), "a Pod",
			1, row.cloudCalls)
	}
	if r.options.measures(partDay) {
		add(partDay, "CPUs in the cloud, with the way home", "CPU s", r.day.Without.CloudSeconds, r.day.With.CloudSeconds)
	}
	return all
}

func inMillis(d time.Duration) float64 { return d.Seconds() * 1000 }

// history is the header of the file to which each run adds its figures.
var history = []string{
	"date", "commit", "cpus", "model", "kubernetes", "others", "part", "measure", "unit", "floor", "ours", "ratio",
}

// remember adds figures to the file, which is created if it does not exist.
func (r *results) remember(file string, figures []figure) (err error) {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	var rows [][]string
	if info.Size() == 0 {
		rows = append(rows, history)
	}
	number := func(value float64) string { return strconv.FormatFloat(value, 'g', 4, 64) }
	for _, f := range figures {
		m := r.machine
		rows = append(rows, []string{
			m.date.UTC().Format(time.RFC3339), r.options.Commit, strconv.Itoa(m.cpus), m.model, m.kubernetes,
			number(r.others[f.part]), f.part, f.measure, f.unit, number(f.floor), number(f.ours), number(f.ratio()),
		})
	}
	w := csv.NewWriter(out)
	if err := w.WriteAll(rows); err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}

// allowed is the range of the ratio of a measure.
type allowed struct {
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
}

//go:embed ranges.yaml
var rangesFile []byte

// checkRatios returns an error that names each ratio outside its range, and each range of a measured part that is of
// no measure: a measure whose name has changed would no longer be checked.
func checkRatios(figures []figure, file []byte) error {
	var ranges map[string]map[string]allowed
	if err := yaml.UnmarshalStrict(file, &ranges); err != nil {
		return fmt.Errorf("reading the ranges: %w", err)
	}
	var errs []error
	for _, f := range figures {
		if ranges[f.part] == nil {
			continue
		}
		limits, found := ranges[f.part][f.measure]
		delete(ranges[f.part], f.measure)
		if found && !limits.allow(f.ratio()) {
			errs = append(errs, fmt.Errorf("%s: %s: %.3g %s is %.2f of the floor, %.3g %s: must be %s", f.part, f.measure,
				f.ours, f.unit, f.ratio(), f.floor, f.unit, limits))
		}
	}
	for part, left := range ranges {
		for measure := range left {
			if slices.ContainsFunc(figures, func(f figure) bool { return f.part == part }) {
				errs = append(errs, fmt.Errorf("%s: %s: the range is of no measure of this run", part, measure))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// allow reports whether a ratio is within the range. One that is not a number never is.
func (a allowed) allow(ratio float64) bool {
	return !math.IsNaN(ratio) && (a.Min == nil || ratio >= *a.Min) && (a.Max == nil || ratio <= *a.Max)
}

func (a allowed) String() string {
	switch {
	case a.Min != nil && a.Max != nil:
		return fmt.Sprintf("from %.2f to %.2f", *a.Min, *a.Max)
	case a.Min != nil:
		return fmt.Sprintf("at least %.2f", *a.Min)
	case a.Max != nil:
		return fmt.Sprintf("at most %.2f", *a.Max)
	default:
		return "any"
	}
}
