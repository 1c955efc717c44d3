package sizes_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// sizedAs is a container with a request, a limit or neither of "cpu memory".
func sizedAs(name, request, limit string) corev1.Container {
	list := func(text string) corev1.ResourceList {
		var cpu, memory string
		_, _ = fmt.Sscan(text, &cpu, &memory)
		out := corev1.ResourceList{}
		if cpu != "" && cpu != "-" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" && memory != "-" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	return corev1.Container{
		Name:      name,
		Resources: corev1.ResourceRequirements{Requests: list(request), Limits: list(limit)},
	}
}

// shown is what a container gets.
func shown(list corev1.ResourceList) string {
	if list == nil {
		return "nothing"
	}
	return list.Cpu().String() + " " + list.Memory().String()
}

// The rules are those of the manual (CCE, virtual-kubelet, "Automatic adjustment of resources"), one by one.
func TestFitCCI1(t *testing.T) {
	one := func(request, limit string) corev1.PodSpec {
		return corev1.PodSpec{Containers: []corev1.Container{sizedAs("a", request, limit)}}
	}
	cases := map[string]struct {
		spec corev1.PodSpec
		size string
		want []string // of init containers, then containers
		err  string
	}{
		"what is sold stays": {one("1 2Gi", ""), "1.00_2.0", []string{"1 2Gi"}, ""},
		"the manual's own workload": {
			one("250m 512Mi", "250m 512Mi"),
			"0.25_1.0",
			[]string{"250m 1Gi"},
			"",
		},
		"CPU becomes quarters":                      {one("300m 1Gi", ""), "0.50_1.0", []string{"500m 1Gi"}, ""},
		"memory becomes whole GiB":                  {one("1 2100Mi", ""), "1.00_3.0", []string{"1 3Gi"}, ""},
		"limits count before requests":              {one("250m 1Gi", "1 4Gi"), "1.00_4.0", []string{"1 4Gi"}, ""},
		"a limit of one and a request of the other": {one("500m -", "- 2Gi"), "0.50_2.0", []string{"500m 2Gi"}, ""},
		"too little memory for the CPU is raised":   {one("4 1Gi", ""), "4.00_8.0", []string{"4 8Gi"}, ""},
		"to whole GiB too":                          {one("1250m 1Gi", ""), "1.25_3.0", []string{"1250m 3Gi"}, ""},
		"too little CPU for the memory is raised":   {one("250m 20Gi", ""), "2.50_20.0", []string{"2500m 20Gi"}, ""},
		"to quarters too":                           {one("250m 9Gi", ""), "1.25_9.0", []string{"1250m 9Gi"}, ""},
		"CPU alone gets memory":                     {one("2 -", ""), "2.00_4.0", []string{"2 4Gi"}, ""},
		"the largest":                               {one("32 256Gi", ""), "32.00_256.0", []string{"32 256Gi"}, ""},
		"memory alone is refused": {
			one("- 1Gi", ""),
			"",
			nil,
			"give at least one container a CPU request",
		},
		"more than 32 cores is refused":                  {one("32001m 64Gi", ""), "", nil, "holds 32001m CPU"},
		"more than 256Gi is refused":                     {one("32 257Gi", ""), "", nil, "257Gi"},
		"more than there is":                             {one("1e1000000000 1e1000000000", ""), "", nil, "no CCI 1.0 size"},
		"nothing gets the smallest, the first container": {one("", ""), "0.25_1.0", []string{"250m 1Gi"}, ""},
		"what is added goes to the first that asks, those that ask for nothing keep nothing": {
			corev1.PodSpec{
				Containers: []corev1.Container{sizedAs("log", "", ""), sizedAs("a", "100m 100Mi", ""), sizedAs("b", "1 1Gi", "")},
			},
			"1.25_3.0",
			[]string{"nothing", "250m 2Gi", "1 1Gi"},
			"",
		},
		"each container that asks for anything has its least": {
			corev1.PodSpec{
				Containers: []corev1.Container{sizedAs("a", "250m 1Gi", ""), sizedAs("b", "- 10Mi", ""), sizedAs("c", "10m -", "")},
			},
			"0.75_2.0",
			[]string{"250m 1717986918", "250m 214748365", "250m 214748365"},
			"",
		},
		"an init container is rounded, and the Pod is as large": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{sizedAs("i", "2100m 1Gi", ""), sizedAs("j", "", "")},
				Containers:     []corev1.Container{sizedAs("a", "500m 1Gi", "")},
			},
			"2.25_5.0",
			[]string{"2250m 1Gi", "nothing", "2250m 5Gi"},
			"",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := tc.spec.DeepCopy()
			fit, err := sizes.FitCCI1(&tc.spec, sizes.Flavor{})
			assert.Equal(t, before, &tc.spec)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.size, fit.Size.String())
			var got []string
			for _, list := range append(fit.Init, fit.Containers...) {
				got = append(got, shown(list))
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestFitCCI1GivesTheLeast(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{sizedAs("a", "", ""), sizedAs("b", "", "")}}
	fit, err := sizes.FitCCI1(&spec, sizes.Flavor{MilliCPU: 500, MilliGiB: 1000})
	require.NoError(t, err)
	assert.Equal(t, "0.50_1.0", fit.Size.String())
	assert.Equal(t, "500m 1Gi", shown(fit.Containers[0]))
	assert.Nil(t, fit.Containers[1])
}

func FuzzFitCCI1(f *testing.F) {
	f.Add("100m", "1Gi", "2", "1e30", int64(500), int64(1000))
	f.Fuzz(func(t *testing.T, cpu, memory, initCPU, initMemory string, leastCPU, leastMemory int64) {
		container := func(cpu, memory string) (corev1.Container, bool) {
			c, errCPU := resource.ParseQuantity(cpu)
			m, errMemory := resource.ParseQuantity(memory)
			return corev1.Container{
					Resources: corev1.ResourceRequirements{
						Limits: corev1.ResourceList{corev1.ResourceCPU: c, corev1.ResourceMemory: m},
					},
				},
				errCPU == nil && errMemory == nil && c.Sign() >= 0 &&
					m.Sign() >= 0
		}
		a, okA := container(cpu, memory)
		i, okI := container(initCPU, initMemory)
		if !okA || !okI || leastCPU < 0 || leastMemory < 0 || leastMemory > 1<<30 {
			return
		}
		fit, err := sizes.FitCCI1(&corev1.PodSpec{InitContainers: []corev1.Container{i}, Containers: []corev1.Container{a}},
			sizes.Flavor{MilliCPU: leastCPU, MilliGiB: leastMemory})
		if err != nil {
			return
		}
		ratio := float64(fit.Size.MilliGiB) / float64(fit.Size.MilliCPU)
		assert.True(t, ratio >= 2 && ratio <= 8 && fit.Size.MilliCPU%250 == 0 && fit.Size.MilliGiB%1000 == 0, "%s", fit.Size)
	})
}
