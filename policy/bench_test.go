package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
)

// BenchmarkDecide is the seed's hostPath Deployment: what the extender pays for each Pod that it is asked about.
func BenchmarkDecide(b *testing.B) {
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(b, err)
	for name, file := range map[string]string{
		"nginx": "testdata/seed-nginx-deployment.input.yaml", "hostPath": "testdata/seed-hostpath-deployment.input.yaml",
	} {
		b.Run(name, func(b *testing.B) {
			in := policytest.Read(b, file).Input(b)
			b.ReportAllocs()
			for b.Loop() {
				decider.Decide(in)
			}
		})
	}
}
