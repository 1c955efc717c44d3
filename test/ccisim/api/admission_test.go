package api

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

func sized(cpu, memory string) corev1.Container {
	return corev1.Container{Name: "c", Image: "a", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}}
}

func podOf(containers ...corev1.Container) *objects.Pod {
	pod := &objects.Pod{}
	pod.Annotations = map[string]string{}
	pod.Spec.Containers = containers
	return pod
}

func TestSoldSizes(t *testing.T) {
	assert.Len(t, podSizes, 3+5+8+15+29+15+15+4+3+3)
	for i, size := range podSizes {
		parsed, err := parseSize(size.String())
		require.NoError(t, err)
		assert.Equal(t, size, parsed)
		smallest, ok := smallestSize(size)
		assert.True(t, ok)
		assert.Equal(t, size, smallest)
		if i > 0 {
			previous := podSizes[i-1]
			assert.True(t, size.milliCPU > previous.milliCPU || size.memory > previous.memory, "sizes are in order")
		}
	}
	for _, text := range []string{"2C4G", "3.00_4.0", "", "_"} {
		_, err := parseSize(text)
		assert.Error(t, err, text)
	}
}

func TestBilledSize(t *testing.T) {
	cases := map[string]struct {
		pod        *objects.Pod
		annotation string
		want       string
		err        string
	}{
		"the smallest size":         {podOf(sized("100m", "64Mi")), "", "0.25_0.5", ""},
		"the sum of the containers": {podOf(sized("500m", "1Gi"), sized("600m", "1Gi")), "", "2.00_2.0", ""},
		"an annotation with more":   {podOf(sized("100m", "64Mi")), "4.00_8.0", "4.00_8.0", ""},
		"an annotation with less": {
			podOf(sized("2", "4Gi")), "0.25_0.5", "", "0.25_0.5 is less than the containers' resources",
		},
		"a size that is not sold":   {podOf(sized("1", "1Gi")), "3.00_4.0", "", "is not a size that is sold"},
		"no resources":              {podOf(corev1.Container{Name: "c"}), "", "", "needs both cpu and memory"},
		"more than is sold":         {podOf(sized("65", "1Gi")), "", "", "no size holds the containers' resources"},
		"many cores, no annotation": {podOf(sized("33", "64Gi")), "", "", "more than 32 cores"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.annotation != "" {
				tc.pod.Annotations[annotationSizeSpecs] = tc.annotation
			}
			size, err := billedSize(tc.pod)
			if tc.err != "" {
				assert.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, size.String())
		})
	}
}

func TestQOSClasses(t *testing.T) {
	burstable := sized("1", "1Gi")
	burstable.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}
	guaranteed := podOf(sized("1", "1Gi"))
	setPodDefaults(guaranteed)
	assert.Equal(t, corev1.PodQOSGuaranteed, qosClass(guaranteed))
	assert.Equal(t, corev1.PodQOSBurstable, qosClass(podOf(burstable)))
	assert.Equal(t, corev1.PodQOSBestEffort, qosClass(podOf(corev1.Container{})))
}

func TestPruning(t *testing.T) {
	allowed := names("kept").with(fields{
		"quiet":   serverSet(),
		"refused": refused("is not supported"),
		"group":   group(names("kept")),
		"list":    group(names("kept")),
	})
	cases := map[string]struct {
		body, want string
		unlisted   []string
		refusals   []string
	}{
		"a listed field":         {`{"kept":{"any":1}}`, `{"kept":{"any":1}}`, nil, nil},
		"an unlisted field":      {`{"other":1}`, `{}`, []string{"other"}, nil},
		"an unlisted null":       {`{"other":null}`, `{}`, nil, nil},
		"a field of the server":  {`{"quiet":1}`, `{}`, nil, nil},
		"a refused field":        {`{"refused":true}`, `{}`, nil, []string{"refused: is not supported"}},
		"a refused field, unset": {`{"refused":false}`, `{}`, nil, nil},
		"a field below":          {`{"group":{"kept":1,"x":1}}`, `{"group":{"kept":1}}`, []string{"group.x"}, nil},
		"a field of a list":      {`{"list":[{"x":1},{"kept":1}]}`, `{"list":[{},{"kept":1}]}`, []string{"list[0].x"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var body map[string]any
			require.NoError(t, json.Unmarshal([]byte(tc.body), &body))
			found := &pruned{}
			found.prune("", body, allowed)
			got, err := json.Marshal(body)
			require.NoError(t, err)
			assert.JSONEq(t, tc.want, string(got))
			assert.Equal(t, tc.unlisted, found.unlisted)
			assert.Equal(t, tc.refusals, found.refusals)
		})
	}
}

func TestPodRules(t *testing.T) {
	equal, unequal := sized("1", "1Gi"), sized("1", "1Gi")
	equal.Resources.Requests = equal.Resources.Limits
	extra := func(gib int32) func(*objects.Pod) {
		return func(pod *objects.Pod) {
			pod.Spec.ExtraEphemeralStorage = &objects.ExtraEphemeralStorage{SizeInGiB: gib}
		}
	}
	emptyDir := func(limit string) func(*objects.Pod) {
		return func(pod *objects.Pod) {
			quantity := resource.MustParse(limit)
			source := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &quantity}}
			pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: source}}
		}
	}
	cases := map[string]struct {
		rule      podRule
		policies  faults.Policies
		container corev1.Container
		change    func(*objects.Pod)
		want      string
	}{
		"requests differ, policy off": {equalRequests, faults.Policies{}, unequal, func(*objects.Pod) {}, ""},
		"requests differ, policy on": {
			equalRequests, faults.Policies{EqualRequests: true}, unequal, func(*objects.Pod) {}, "doesn't equal",
		},
		"requests equal, policy on": {equalRequests, faults.Policies{EqualRequests: true}, equal, func(*objects.Pod) {}, ""},
		"the most extra storage":    {extraStorage, faults.Policies{}, equal, extra(964), ""},
		"too much extra storage":    {extraStorage, faults.Policies{}, equal, extra(965), "is not between 1 and 964"},
		"the largest emptyDir":      {emptyDirSizes, faults.Policies{}, sized("1", "1Gi"), emptyDir("10Gi"), ""},
		"cores are rounded up":      {emptyDirSizes, faults.Policies{}, sized("250m", "512Mi"), emptyDir("10Gi"), ""},
		"a larger emptyDir": {
			emptyDirSizes, faults.Policies{}, sized("1", "1Gi"), emptyDir("11Gi"), "more than 10Gi per CPU core",
		},
		"an emptyDir of a part of GiB": {
			emptyDirSizes, faults.Policies{}, sized("1", "1Gi"), emptyDir("1Mi"), "is not a multiple of 1Gi",
		},
		"a volume without a source": {volumeSources, faults.Policies{}, equal, func(pod *objects.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
		}, "volume data has no supported source"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := podOf(tc.container)
			tc.change(pod)
			message := tc.rule(tc.policies, pod)
			if tc.want == "" {
				assert.Empty(t, message)
			} else {
				assert.Contains(t, message, tc.want)
			}
		})
	}
}

func TestPodChanges(t *testing.T) {
	cases := map[string]struct {
		change  func(*objects.Pod)
		allowed bool
	}{
		"nothing":      {func(*objects.Pod) {}, true},
		"an image":     {func(pod *objects.Pod) { pod.Spec.Containers[0].Image = "b" }, true},
		"a toleration": {func(pod *objects.Pod) { pod.Spec.Tolerations = []corev1.Toleration{{Key: "x"}} }, true},
		"a command":    {func(pod *objects.Pod) { pod.Spec.Containers[0].Command = []string{"x"} }, false},
		"a container more": {
			func(pod *objects.Pod) { pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{}) }, false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			was := podOf(sized("1", "1Gi"))
			will := was.DeepCopy()
			tc.change(will)
			assert.Equal(t, tc.allowed, checkPodChange(was, will) == nil)
		})
	}
}
