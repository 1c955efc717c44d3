package sizes_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy/policytest"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

const annotation = "resource.cci.io/pod-size-specs"

func TestFlavorsAreTheTableOfTheManual(t *testing.T) {
	var want []sizes.Flavor
	for _, s := range policytest.Sizes(t) {
		want = append(want, sizes.Flavor{MilliCPU: int64(s.VCPU * 1000), MilliGiB: int64(s.GiB * 1000)})
	}
	assert.Equal(t, want, sizes.Flavors())
	assert.Len(t, want, 3+5+8+15+29+15+15+4+3+3)
}

func TestFlavorStringAndResources(t *testing.T) {
	cases := map[string]struct {
		flavor      sizes.Flavor
		want        string
		cpu, memory string
	}{
		"the smallest":         {sizes.Flavor{MilliCPU: 250, MilliGiB: 500}, "0.25_0.5", "250m", "512Mi"},
		"the manual's example": {sizes.Flavor{MilliCPU: 2000, MilliGiB: 4000}, "2.00_4.0", "2", "4Gi"},
		"the largest":          {sizes.Flavor{MilliCPU: 64000, MilliGiB: 512000}, "64.00_512.0", "64", "512Gi"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.flavor.String())
			resources := tc.flavor.Resources()
			assert.Equal(t, tc.cpu, resources.Cpu().String())
			assert.Equal(t, tc.memory, resources.Memory().String())
			assert.Len(t, resources, 2)
		})
	}
}

// list is a ResourceList from texts; an empty one is left out.
func list(cpu, memory string) corev1.ResourceList {
	resources := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if text != "" {
			resources[name] = resource.MustParse(text)
		}
	}
	return resources
}

// limited is a container with limits.
func limited(cpu, memory string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Limits: list(cpu, memory)}}
}

// requesting is a container with requests only.
func requesting(cpu, memory string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list(cpu, memory)}}
}

func sidecar(c corev1.Container) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func TestFlavorFor(t *testing.T) {
	spec := func(containers ...corev1.Container) corev1.PodSpec { return corev1.PodSpec{Containers: containers} }
	both := func(request, limit corev1.ResourceList) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: request, Limits: limit}}
	}
	cases := map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"the manual's example: 6 CPU and 15Gi":    {spec(limited("6", "15Gi")), "8.00_16.0"},
		"nothing asked":                           {spec(corev1.Container{}), "0.25_0.5"},
		"no containers":                           {corev1.PodSpec{}, "0.25_0.5"},
		"exactly the smallest":                    {spec(limited("250m", "512Mi")), "0.25_0.5"},
		"a thousandth of a CPU more":              {spec(limited("251m", "512Mi")), "0.50_0.5"},
		"a byte more":                             {spec(limited("250m", "536870913")), "0.25_1.0"},
		"a byte less":                             {spec(limited("250m", "536870911")), "0.25_0.5"},
		"a thousandth of a byte more":             {spec(limited("250m", "536870912001m")), "0.25_1.0"},
		"513Mi are more than half a Gi":           {spec(limited("250m", "513Mi")), "0.25_1.0"},
		"500M are less than 512Mi":                {spec(limited("250m", "500M")), "0.25_0.5"},
		"1023Mi fit 1Gi":                          {spec(limited("1", "1023Mi")), "1.00_1.0"},
		"1025Mi do not":                           {spec(limited("1", "1025Mi")), "1.00_2.0"},
		"memory alone chooses the CPU: up to 2Gi": {spec(limited("", "2Gi")), "0.25_2.0"},
		"memory alone chooses the CPU: 3Gi":       {spec(limited("", "3Gi")), "0.50_3.0"},
		"memory alone chooses the CPU: 5Gi":       {spec(limited("", "5Gi")), "1.00_5.0"},
		"memory alone chooses the CPU: 9Gi":       {spec(limited("", "9Gi")), "2.00_9.0"},
		"CPU alone takes the row's least memory":  {spec(limited("48", "")), "48.00_96.0"},
		"4 CPU and 32Gi end their row":            {spec(limited("4", "32Gi")), "4.00_32.0"},
		"one byte more goes to the next row":      {spec(limited("4", "34359738369")), "8.00_36.0"},
		"8 CPU go by 4Gi":                         {spec(limited("8", "17Gi")), "8.00_20.0"},
		"16 CPU go by 8Gi":                        {spec(limited("16", "17Gi")), "16.00_24.0"},
		"32 CPU double":                           {spec(limited("32", "65Gi")), "32.00_128.0"},
		"33 CPU start 48":                         {spec(limited("32001m", "1Gi")), "48.00_96.0"},
		"the largest":                             {spec(limited("64", "512Gi")), "64.00_512.0"},
		"what the containers ask is added":        {spec(limited("1", "1Gi"), limited("1500m", "2Gi")), "4.00_4.0"},
		"limits count over requests":              {spec(both(list("250m", "512Mi"), list("2", "4Gi"))), "2.00_4.0"},
		"each resource separately":                {spec(both(list("2", "1Gi"), list("", "4Gi"))), "2.00_4.0"},
		"requests count where there is no limit":  {spec(requesting("2", "4Gi")), "2.00_4.0"},
		"other resources do not count": {
			spec(both(corev1.ResourceList{"spillway.io/placement": resource.MustParse("1")}, nil)),
			"0.25_0.5",
		},
		"the largest init container beside the containers": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{limited("4", "1Gi"), limited("1", "8Gi")},
				Containers:     []corev1.Container{limited("1", "1Gi")},
			},
			"4.00_8.0",
		},
		"a smaller init container does not matter": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{limited("1", "1Gi")},
				Containers:     []corev1.Container{limited("2", "4Gi")},
			},
			"2.00_4.0",
		},
		"sidecars run beside the containers": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{sidecar(limited("1", "1Gi"))},
				Containers:     []corev1.Container{limited("1", "3Gi")},
			},
			"2.00_4.0",
		},
		"init containers run beside earlier sidecars": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{sidecar(limited("1", "1Gi")), limited("3", "3Gi")},
				Containers:     []corev1.Container{limited("1", "1Gi")},
			},
			"4.00_4.0",
		},
		"but not beside later ones": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{limited("2", "4Gi"), sidecar(limited("1", "1Gi"))},
				Containers:     []corev1.Container{limited("1", "3Gi")},
			},
			"2.00_4.0",
		},
		"what the whole Pod asks for": {
			corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Limits: list("2", "4Gi")},
				Containers: []corev1.Container{{}},
			},
			"2.00_4.0",
		},
		"and never less than its containers": {
			corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: list("1", "1Gi")},
				Containers: []corev1.Container{limited("2", "4Gi")},
			},
			"2.00_4.0",
		},
		"a zero of any form": {spec(limited("0e1000000000", "0")), "0.25_0.5"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := tc.spec.DeepCopy()
			got, err := sizes.For(nil, &tc.spec)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got.String())
			assert.Equal(t, before, &tc.spec, "the spec is not changed")

			got, err = sizes.For(map[string]string{annotation: tc.want}, &tc.spec)
			require.NoError(t, err, "the chosen size may be asked for")
			assert.Equal(t, tc.want, got.String())
		})
	}
}

func TestFlavorForTooLarge(t *testing.T) {
	cases := map[string]struct{ cpu, memory, words string }{
		"a thousandth of a CPU too many":  {"64001m", "1Gi", "64001m CPU and 1Gi memory"},
		"a byte too many":                 {"1", "549755813889", "1 CPU and 549755813889 memory"},
		"more than a machine word of CPU": {"1e30", "1Gi", ""},
		"and of memory":                   {"1", "1e30", ""},
		"and near its end":                {"9223372036854775807", "9223372036854775807", ""},
		"a number that takes minutes":     {"1e1000000000", "1e1000000000", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			// Twice and beside an init container, so that it is added and compared too.
			for _, spec := range []corev1.PodSpec{
				{Containers: []corev1.Container{limited(tc.cpu, tc.memory)}},
				{
					InitContainers: []corev1.Container{sidecar(limited(tc.cpu, tc.memory)), limited(tc.cpu, tc.memory)},
					Containers:     []corev1.Container{limited(tc.cpu, tc.memory), limited("1", "1")},
				},
			} {
				_, err := sizes.For(nil, &spec)
				require.ErrorContains(t, err, "no CCI size holds")
				assert.ErrorContains(t, err, "the largest is 64 CPU with 512Gi")
				if len(spec.Containers) == 1 {
					assert.ErrorContains(t, err, tc.words)
				}
			}
		})
	}
}

func TestFlavorAnnotation(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{limited("1", "2Gi")}}
	cases := map[string]struct{ value, want, wantErr string }{
		"the form of the manual":           {"2.00_4.0", "2.00_4.0", ""},
		"exactly what is needed":           {"1.00_2.0", "1.00_2.0", ""},
		"the same numbers in another form": {"2_4", "2.00_4.0", ""},
		"larger than needed":               {"64.00_512.0", "64.00_512.0", ""},
		"too little CPU": {
			"0.50_2.0",
			"",
			`"0.50_2.0" holds less than the containers need (1 CPU, 2Gi memory)`,
		},
		"too little memory": {
			"1.00_1.0",
			"",
			`"1.00_1.0" holds less than the containers need (1 CPU, 2Gi memory)`,
		},
		"no size that is sold": {
			"3.00_4.0",
			"",
			`invalid value "3.00_4.0": must be a size that CCI sells, such as "2.00_4.0"`,
		},
		"numbers swapped": {"4.0_2.00", "", "must be a size that CCI sells"},
		"one number":      {"2.00", "", "must be a size that CCI sells"},
		"three numbers":   {"2.00_4.0_1", "", "must be a size that CCI sells"},
		"no numbers":      {"large", "", `invalid value "large"`},
		"nothing":         {"", "", `invalid value ""`},
		"not a number":    {"NaN_NaN", "", `invalid value "NaN_NaN"`},
		"endless":         {"Inf_Inf", "", `invalid value "Inf_Inf"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := sizes.For(map[string]string{annotation: tc.value}, &spec)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.ErrorContains(t, err, annotation+": ")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got.String())
		})
	}
}

// What is chosen holds the need, and nothing smaller would: no size with less CPU, nor one with the same CPU and less
// memory.
func TestFlavorForIsTheSmallest(t *testing.T) {
	const mib = 1 << 20
	all := policytest.Sizes(t)
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(milliCPU, bytes int64) {
		spec := corev1.PodSpec{
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(bytes, resource.BinarySI),
			}}}},
		}
		var want *policytest.Size
		for _, s := range all {
			fits := s.VCPU*1000 >= float64(milliCPU) && s.GiB*(1<<30) >= float64(bytes)
			if fits && (want == nil || s.VCPU < want.VCPU || (s.VCPU == want.VCPU && s.GiB < want.GiB)) {
				want = &s
			}
		}
		got, err := sizes.For(nil, &spec)
		if want == nil {
			require.Error(t, err, "%dm CPU, %d bytes", milliCPU, bytes)
			return
		}
		require.NoError(t, err, "%dm CPU, %d bytes", milliCPU, bytes)
		require.Equal(
			t,
			sizes.Flavor{MilliCPU: int64(want.VCPU * 1000), MilliGiB: int64(want.GiB * 1000)},
			got,
			"%dm CPU, %d bytes",
			milliCPU,
			bytes,
		)
	}
	for _, s := range all { // Each size, and just around it.
		for _, cpu := range []int64{-1, 0, 1} {
			for _, memory := range []int64{-1, 0, 1} {
				check(int64(s.VCPU*1000)+cpu, int64(s.GiB*(1<<30))+memory)
			}
		}
	}
	for range 20000 {
		check(rng.Int64N(70000), rng.Int64N(600*1024)*mib+rng.Int64N(3)-1)
	}
}

func TestNeed(t *testing.T) {
	spec := corev1.PodSpec{
		InitContainers: []corev1.Container{limited("1", "4Gi"), sidecar(requesting("100m", "100Mi"))},
		Containers:     []corev1.Container{limited("1500m", "1Gi"), requesting("250m", "")},
	}
	need := sizes.Need(&spec)
	assert.Equal(t, "1850m", need.Cpu().String())
	assert.Equal(t, "4Gi", need.Memory().String())
	assert.Len(t, need, 2)
}
