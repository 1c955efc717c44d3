package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Random Pods get the smallest of all pairs that there are, their containers no less than they ask for, and nothing is
// lost on the way.
func TestFitCCI1AgreesWithAnOracle(t *testing.T) {
	fits := 0
	for seed := range uint64(20_000) {
		s := tellStory(seed)
		spec := s.input().Pod.Spec
		want, ok := s.sizeInCCI1()
		fit, err := sizes.FitCCI1(&spec, sizes.Flavor{})
		require.Equal(t, ok, err == nil, "seed %d: %v", seed, err)
		if !ok {
			continue
		}
		fits++
		require.Equal(
			t,
			sizes.Flavor{MilliCPU: int64(want.VCPU * 1000), MilliGiB: int64(want.GiB * 1000)},
			fit.Size,
			"seed %d",
			seed,
		)
		var milliCPU, bytes int64
		for i, list := range fit.Containers {
			milliCPU, bytes = milliCPU+list.Cpu().MilliValue(), bytes+list.Memory().Value()
			requireHolds(t, list, spec.Containers[i].Resources, seed)
		}
		for i, list := range fit.Init {
			requireHolds(t, list, spec.InitContainers[i].Resources, seed)
		}
		if len(fit.Containers) == 0 {
			continue
		}
		require.Equal(t, fit.Size.MilliCPU, milliCPU, "the containers are the Pod: seed %d", seed)
		require.Equal(t, fit.Size.MilliGiB/1000<<30, bytes, "seed %d", seed)
	}
	assert.Greater(t, fits, 10_000)
}

func requireHolds(t *testing.T, list corev1.ResourceList, asked corev1.ResourceRequirements, seed uint64) {
	t.Helper()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		want, ok := asked.Limits[name]
		if !ok {
			want = asked.Requests[name]
		}
		got := list[name]
		require.GreaterOrEqual(t, got.AsApproximateFloat64(), want.AsApproximateFloat64(), "seed %d", seed)
	}
}
