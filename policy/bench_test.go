package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

// BenchmarkDecide is the seed's hostPath Deployment: what the extender pays for each Pod that it is asked about.
func BenchmarkDecide(b *testing.B) {
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(b, err)
	for name, file := range map[string]string{"nginx": "testdata/seed-nginx-deployment.input.yaml", "hostPath": "testdata/seed-hostpath-deployment.input.yaml"} {
		b.Run(name, func(b *testing.B) {
			pod, labels := podOf(b, readCase(b, file))
			in := policy.Input{Pod: pod, WorkloadLabels: labels}
			b.ReportAllocs()
			for b.Loop() {
				decider.Decide(in)
			}
		})
	}
}
