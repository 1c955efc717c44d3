package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

func use(pods, milliCPU, milliGiB int64) policy.CloudUse {
	return policy.CloudUse{Pods: pods, Flavor: sizes.Flavor{MilliCPU: milliCPU, MilliGiB: milliGiB}}
}

func TestTheLargerOfTwoUsesIsThatOfEachResource(t *testing.T) {
	assert.Equal(t, use(1, 2000, 4000), use(1, 500, 4000).Max(use(0, 2000, 1000)))
}

func TestParseCloudLimits(t *testing.T) {
	cases := map[string]struct {
		text             string
		allowed, refused []policy.CloudUse
	}{
		"no limit":              {"", []policy.CloudUse{use(1<<30, 1<<40, 1<<40)}, nil},
		"a number of Pods":      {"pods=2", []policy.CloudUse{use(2, 1<<40, 1<<40)}, []policy.CloudUse{use(3, 0, 0)}},
		"CPU in cores":          {"cpu=2", []policy.CloudUse{use(9, 2000, 0)}, []policy.CloudUse{use(1, 2001, 0)}},
		"CPU in thousandths":    {"cpu=1500m", []policy.CloudUse{use(9, 1500, 0)}, []policy.CloudUse{use(1, 1501, 0)}},
		"memory in GiB":         {"memory=4Gi", []policy.CloudUse{use(9, 0, 4000)}, []policy.CloudUse{use(1, 0, 4001)}},
		"memory in other units": {"memory=512Mi", []policy.CloudUse{use(9, 0, 500)}, []policy.CloudUse{use(1, 0, 501)}},
		"no Pod at all":         {"pods=0", nil, []policy.CloudUse{use(1, 250, 500)}},
		"all three, with spaces": {
			"pods=1, cpu=1, memory=1Pi", []policy.CloudUse{use(1, 1000, 1<<29)}, []policy.CloudUse{use(1, 1001, 0)},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			limits, err := policy.ParseCloudLimits(c.text)
			require.NoError(t, err)
			assert.Equal(t, c.text, limits.String())
			for _, u := range c.allowed {
				assert.True(t, limits.Allow(u), "%+v", u)
			}
			for _, u := range c.refused {
				assert.False(t, limits.Allow(u), "%+v", u)
			}
		})
	}
}

func TestParseCloudLimitsRejectsEverythingElse(t *testing.T) {
	for _, text := range []string{
		"pods", "pods=", "pods=-1", "pods=1.5", "pods=1,pods=2", "cpu=", "cpu=-1", "cpu=two", "gpu=1", ",", "pods=1,",
		"cpu=1e-4000000", "cpu=1e4000000", "memory=1E9", "pods=99999999999999999999", "memory=99999999Ei", "Pods=1",
		"memory=4", "memory=400", "cpu=2Gi",
		strings.Repeat("pods=1,", 100000),
	} {
		start := time.Now()
		_, err := policy.ParseCloudLimits(text)
		require.Error(t, err, "%.40s", text)
		assert.Contains(t, err.Error(), "spillway.io/cloud-limits: invalid value")
		assert.Less(t, len(err.Error()), 500)
		assert.Less(t, time.Since(start), 100*time.Millisecond, "%.40s", text)
	}
}

func TestTheAnnotationOfANamespaceOverridesTheDefault(t *testing.T) {
	config := policy.DefaultConfig()
	config.CloudLimits = "pods=1"
	p, err := policy.New(config)
	require.NoError(t, err)
	for want, annotations := range map[string]map[string]string{
		"pods=1": nil,
		"cpu=5":  {policy.CloudLimitsAnnotation: "cpu=5"},
		"":       {policy.CloudLimitsAnnotation: ""},
	} {
		limits, err := p.CloudLimits(annotations)
		require.NoError(t, err)
		assert.Equal(t, want, limits.String())
		assert.Equal(t, want == "", limits.IsZero())
	}
}

func TestANamespaceThatMayNotUseTheCloudKeepsItsPodsLocal(t *testing.T) {
	p, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team-a", Labels: map[string]string{policy.BurstLabel: string(policy.ModeEnforce)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
	}
	for text, want := range map[string]policy.Reason{
		"pods=0":   policy.ReasonCloudForbidden,
		"cpu=0":    policy.ReasonCloudForbidden,
		"memory=0": policy.ReasonCloudForbidden,
		"pods=two": policy.ReasonInvalidNamespace,
		"pods=1":   policy.ReasonLabelEnforce,
	} {
		decision := p.Decide(policy.Input{
			Pod: pod, NamespaceAnnotations: map[string]string{policy.CloudLimitsAnnotation: text},
		})
		assert.Equal(t, want, decision.Reason, decision.Message)
		assert.Equal(t, policy.ModeEnforce, decision.Mode)
		if !decision.MayBurst() {
			assert.Contains(t, decision.Message, "namespace team-a")
			assert.Contains(t, decision.Message, text)
		}
	}
}

func TestConfigRejectsMalformedCloudLimits(t *testing.T) {
	config := policy.DefaultConfig()
	config.CloudLimits = "pods=many"
	_, err := policy.New(config)
	assert.ErrorContains(t, err, `policy.cloudLimits: Invalid value: "pods=many"`)
}

func TestAPodThatWasResizedCountsWithWhatItHas(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	cpu := func(amount string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(amount)}}
	}
	status := func(name, amount string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, Resources: new(cpu(amount))}
	}
	for name, test := range map[string]struct {
		statuses []corev1.ContainerStatus
		milliCPU int64
	}{
		"no status yet":       {nil, 1000},
		"no resources in it":  {[]corev1.ContainerStatus{{Name: "a"}, {Name: "b"}}, 1000},
		"the same":            {[]corev1.ContainerStatus{status("a", "0.5"), status("b", "0.5")}, 1000},
		"one had more":        {[]corev1.ContainerStatus{status("a", "3500m"), status("b", "500m")}, 4000},
		"in another order":    {[]corev1.ContainerStatus{status("b", "500m"), status("a", "3500m")}, 4000},
		"one wants more":      {[]corev1.ContainerStatus{status("a", "100m"), status("b", "500m")}, 1000},
		"an unknown one":      {[]corev1.ContainerStatus{status("c", "30")}, 1000},
		"one is not reported": {[]corev1.ContainerStatus{status("b", "1500m")}, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "a", Resources: cpu("500m")}, {Name: "b", Resources: cpu("500m")},
			}}}
			pod.Status.ContainerStatuses = test.statuses
			before := pod.DeepCopy()
			used, err := rules.CloudUse(pod)
			require.NoError(t, err)
			assert.Equal(t, test.milliCPU, used.MilliCPU)
			assert.Equal(t, before, pod, "the Pod is not changed")
		})
	}
}
