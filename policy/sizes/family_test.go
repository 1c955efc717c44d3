package sizes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

func TestFamilyOf(t *testing.T) {
	const lite, general = sizes.GeneralComputingLite, sizes.GeneralComputing
	one, preference := sizes.InstanceTypeAnnotation, sizes.InstanceTypePreferenceAnnotation
	for name, test := range map[string]struct {
		annotations map[string]string
		want        sizes.Family
	}{
		"without annotations":      {nil, general},
		"the type":                 {map[string]string{one: "general-computing-lite"}, lite},
		"the other type":           {map[string]string{one: "general-computing"}, general},
		"the first of a wish":      {map[string]string{preference: "general-computing-lite,general-computing"}, lite},
		"the other first":          {map[string]string{preference: "general-computing,x"}, general},
		"a value that is none":     {map[string]string{one: "gpu-accelerated"}, general},
		"part of a value is none":  {map[string]string{one: "general-computing-lite,x"}, general},
		"another annotation's key": {map[string]string{"instance-type": "general-computing-lite"}, general},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, sizes.FamilyOf(test.annotations)) })
	}
}
