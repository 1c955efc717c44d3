package main

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// sample returns figures that are easy to check by hand.
func sample() results {
	r := results{options: *defaultOptions(), machine: machine{
		date: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), model: "A CPU", memory: "16 GiB", cpus: 4, goVersion: "go1.26.0",
		kubernetes: "v1.36.3",
	}, others: map[string]float64{partScheduling: 0.01, partCreation: 0.034}}
	r.options.Commit = "0123456789ab"
	for i, tc := range throughputCases {
		row := bindingResult{throughputCase: tc}
		for round := range 3 {
			rate := float64(800 - 100*i - 10*round)
			row.measurements = append(row.measurements, measurement{
				rate: rate, calls: 100 * i, cpu: time.Duration(i+round) * time.Millisecond, others: 0.01 * float64(round),
			})
		}
		r.throughput = append(r.throughput, row)
	}
	times := func(unit time.Duration) (list []time.Duration) {
		for i := range 100 {
			list = append(list, time.Duration(i+1)*unit)
		}
		return list
	}
	for _, title := range []string{unmanagedTitle, "quota used up", "below the quota, has its slot"} {
		r.answers.rows = append(r.answers.rows, &answerRow{
			podKind: podKind{title: title}, names: 100, noOp: times(20 * time.Microsecond), ours: times(30 * time.Microsecond),
		})
	}
	r.answers.noOpCalls, r.answers.noOpConnections, r.answers.oursCalls, r.answers.oursConnections = 309, 2, 310, 1
	for i, cc := range creationCases {
		r.creation = append(r.creation, creationResult{
			creationCase: cc, alone: times(time.Duration(40+10*i) * time.Microsecond),
			rates: []float64{float64(900 - 20*i), float64(800 - 20*i)},
		})
	}
	r.cloud = []cloudResult{{
		cloudCase: cloudCase{pods: 3000, nodes: 1}, floor: 10 * time.Second, created: 8 * time.Second,
		running: 15 * time.Second, memory: 20 << 10,
		clusterCalls: 3.5, cloudCalls: 1,
	}}
	r.writes = writeResult{
		names: 100, patch: times(40 * time.Microsecond), first: times(70 * time.Microsecond),
		again: times(20 * time.Microsecond),
	}
	return r
}

func TestTablesAreGolden(t *testing.T) {
	r := sample()
	tables := r.tables()
	r.throughput = r.throughput[4:5] // Without the floors there is no comparison.
	sections := []string{
		tables["throughput"], tables["filter"], tables["slot"], tables["creation"], tables["cloud"],
		r.throughputTable(),
	}
	got := strings.Join(sections, "\n")
	r.options.Parts = []string{partCreation}
	alone := r.tables()
	require.Len(t, alone, 1)
	got += "\n" + alone["creation"]
	if *update {
		require.NoError(t, os.WriteFile("testdata/tables.md", []byte(got), 0o644))
	}
	want, err := os.ReadFile("testdata/tables.md")
	require.NoError(t, err)
	assert.Equal(t, strings.Split(string(want), "\n"), strings.Split(got, "\n"))
}
