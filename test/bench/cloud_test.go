package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResidentKilobytes(t *testing.T) {
	found, err := residentKilobytes("Name:\tvnode\nVmPeak:\t 2000 kB\nVmRSS:\t   51234 kB\nThreads:\t9\n")
	require.NoError(t, err)
	assert.Equal(t, 51234, found)
	_, err = residentKilobytes("Name:\tvnode\n")
	assert.ErrorContains(t, err, "VmRSS")
}

func TestSumMetricAddsTheChosenSeries(t *testing.T) {
	const text = "# TYPE requests counter\nrequests{verb=\"POST\"} 3\nrequests{verb=\"GET\"} 5\n# TYPE pods " +
		"gauge\npods{verb=\"POST\"} 7\n"
	post := func(labels map[string]string) bool { return labels["verb"] == "POST" }
	for name, want := range map[string]float64{"requests": 3, "pods": 7, "nothing": 0} {
		sum, err := sumMetric(text, name, post)
		require.NoError(t, err)
		assert.Equal(t, want, sum, name)
	}
	_, err := sumMetric("}", "requests", post)
	assert.Error(t, err)
}
