package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

func TestACloudSlotIsReadAsItIsWritten(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid-a"}}
	all := append(sizes.Flavors(), sizes.Flavor{}, sizes.Flavor{MilliCPU: 1250, MilliGiB: 3000})
	for _, size := range all {
		slot := policy.CloudSlot{Flavor: size}
		pod.Annotations = map[string]string{policy.CloudSlotAnnotation: slot.Value(pod)}
		got, ok := policy.CloudSlotOf(pod)
		assert.True(t, ok, slot.Value(pod))
		assert.Equal(t, slot, got)
	}
}

func TestACloudSlotIsThatOfItsPodOnly(t *testing.T) {
	for value, want := range map[string]bool{
		"uid-a/2.00_4.0": true, "uid-b/2.00_4.0": false, "uid-a": false, "uid-a/": false, "": false, "/2.00_4.0": false,
		"uid-a/NaN_1": false, "uid-a/1e9_1.0": false, "uid-a/2_4": false, "uid-a/2.00_4.0_1": false, "uid-a/Inf_Inf": false,
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			UID: "uid-a", Annotations: map[string]string{policy.CloudSlotAnnotation: value},
		}}
		_, ok := policy.CloudSlotOf(pod)
		assert.Equal(t, want, ok, value)
	}
	empty := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		policy.CloudSlotAnnotation: "/2.00_4.0",
	}}}
	_, ok := policy.CloudSlotOf(empty)
	assert.False(t, ok, "a Pod without a UID has no slot")
}

func TestTheBilledSizeOfAPod(t *testing.T) {
	requests := func(cpu string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
	}
	large := map[string]string{policy.FlavorAnnotation: "2.00_4.0"}
	for name, test := range map[string]struct {
		version     policy.CCIVersion
		byDefault   string
		resources   corev1.ResourceRequirements
		annotations map[string]string
		want        string
	}{
		"a Pod without requests has the default size": {
			policy.CCI2, "1.00_2.0", corev1.ResourceRequirements{}, nil, "1.00_2.0",
		},
		"without a default size it has the smallest": {
			policy.CCI2, "", corev1.ResourceRequirements{}, nil, "0.25_0.5",
		},
		"a Pod with requests has the smallest that fits": {
			policy.CCI2, "1.00_2.0", requests("300m"), nil, "0.50_0.5",
		},
		"an annotation takes precedence over the default": {
			policy.CCI2, "1.00_2.0", corev1.ResourceRequirements{}, large, "2.00_4.0",
		},
		"CCI 1.0 rounds the default size": {
			policy.CCI1, "0.50_1.0", corev1.ResourceRequirements{}, nil, "0.50_1.0",
		},
		"CCI 1.0 rounds requests": {
			policy.CCI1, "0.50_1.0", requests("300m"), nil, "0.50_1.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := policy.DefaultConfig()
			config.CCIVersion, config.DefaultSize = test.version, test.byDefault
			p, err := policy.New(config)
			require.NoError(t, err)
			got, err := p.CloudUse(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: test.resources}}},
			})
			require.NoError(t, err)
			assert.EqualValues(t, 1, got.Pods)
			assert.Equal(t, test.want, got.String())
		})
	}
}
