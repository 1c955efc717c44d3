package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
)

func TestOptionsReportAllErrorsAtOnce(t *testing.T) {
	require.NoError(t, config.Load("bench", nil, defaultOptions()))
	err := config.Load("bench", []string{
		"--rounds=0", "--pods=3001", "--nodes=10", "--cases=quota,none", "--names=2", "--dir=", "--asks=-1", "--calm=-1s",
		"--parts=filter,all", "--cloud=3000", "--creates=0",
	}, defaultOptions())
	require.ErrorIs(t, err, run.ErrUsage)
	for _, want := range []string{
		`--rounds: invalid value 0: must be at least 1`,
		`--pods: invalid value 3001: must be a multiple of the 30 revisions, with more Pods in each than the quota of 20`,
		`--pods: invalid value 3001: must be at most 1100, which fit on 10 local nodes`,
		`--cases: invalid value none: must be one of default, all-nodes, no-op, plain, quota, every-pod`,
		`--names: invalid value 2: must be greater than the number of virtual nodes, 3`,
		`--dir: invalid value "": must be a directory`,
		`--asks: invalid value -1: must be at least 1`,
		`--parts: invalid value all: must be one of scheduling, filter, creation, cloud`,
		`--cloud: invalid value "3000": must be PODS/NODES, such as 3000/1`,
		`--creates: invalid value 0: must be at least 1`,
		`--calm: invalid value -1s: must be at least 0s`,
	} {
		assert.ErrorContains(t, err, want)
	}
}
