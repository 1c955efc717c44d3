package config

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheHighestRateIsNotBelowZero(t *testing.T) {
	for text, rate := range map[string]float64{"-1": -1, "NaN": math.NaN()} {
		c := Default()
		c.CCI.MaxQPS = rate
		require.ErrorContains(t, load(c, required()...),
			"cci.maxQPS: Invalid value: "+text+": must not be below zero")
	}
	c := Default()
	c.CCI.MaxQPS = 0
	assert.NoError(t, load(c, required()...), "the rate then stays at or below cci.qps")
}
