package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachRunAddsToTheHistory(t *testing.T) {
	r := sample()
	file := filepath.Join(t.TempDir(), "history.csv")
	figures := r.figures()
	require.NoError(t, r.remember(file, figures))
	require.NoError(t, r.remember(file, figures))
	content, err := os.Open(file)
	require.NoError(t, err)
	defer content.Close()
	rows, err := csv.NewReader(content).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+2*len(figures), "one header, and two runs")
	assert.Equal(t, history, rows[0])
	assert.Equal(t, []string{"2026-02-03T04:05:06Z", "0123456789ab", "4", "A CPU", "v1.36.3", "0.01", "scheduling",
		"plain ÷ default", "Pods/s", "790", "490", "0.6203"}, rows[1])
}

func TestEveryPartHasFigures(t *testing.T) {
	r := sample()
	found := map[string]bool{}
	for _, f := range r.figures() {
		found[f.part] = true
		if f.part != partDay { // The sample has no day.
			assert.Positive(t, f.ratio(), f.measure)
		}
	}
	for _, part := range parts {
		assert.True(t, found[part], part)
		assert.NotEmpty(t, sectionsOf[part], part)
	}
}

func TestRatiosOutsideTheirRangesAreErrors(t *testing.T) {
	figures := []figure{
		{part: partFilter, measure: "a", unit: "ms", floor: 2, ours: 3},
		{part: partFilter, measure: "b", unit: "ms", floor: 1, ours: 3},
		{part: partFilter, measure: "nothing was measured", unit: "ms"},
		{part: partCloud, measure: "c", unit: "Pods/s", floor: 10, ours: 5},
	}
	for name, test := range map[string]struct {
		ranges string
		errs   []string
	}{
		"within": {ranges: "filter: {a: {min: 1, max: 1.5}, b: {max: 3}}\ncloud: {c: {min: 0.5}}"},
		"too high": {
			ranges: "filter: {a: {max: 1.4}, b: {max: 2}}",
			errs: []string{"filter: a: 3 ms is 1.50 of the floor, 2 ms: must be at most 1.40",
				"filter: b: 3 ms is 3.00 of the floor, 1 ms: must be at most 2.00"},
		},
		"too low":      {ranges: "cloud: {c: {min: 0.6, max: 1}}", errs: []string{"must be from 0.60 to 1.00"}},
		"not a number": {ranges: "filter: {nothing was measured: {min: 0}}", errs: []string{"must be at least 0.00"}},
		"of no measure": {
			ranges: "filter: {former name: {max: 2}}",
			errs:   []string{"former name: the range is of no measure of this run"},
		},
		"of another part":  {ranges: "day: {former name: {max: 2}}"},
		"an unknown field": {ranges: "filter: {a: {maximum: 2}}", errs: []string{"unknown field"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkRatios(figures, []byte(test.ranges))
			if test.errs == nil {
				require.NoError(t, err)
			}
			for _, want := range test.errs {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}
