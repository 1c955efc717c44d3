package translate_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// filesPod returns a Pod with one file for each path.
func filesPod(paths ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"app": "web", "team": "pay"},
			Annotations: map[string]string{"build": "1", "long": strings.Repeat("x", 1000)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "i", Command: []string{"sh"}, Args: []string{"-c"},
			Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
		}}},
	}
	var items []corev1.DownwardAPIVolumeFile
	for _, path := range paths {
		items = append(items, corev1.DownwardAPIVolumeFile{
			Path: "file-of-" + path, FieldRef: &corev1.ObjectFieldSelector{FieldPath: path},
		})
	}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "resources", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{}}},
		}}},
		{Name: "info", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{}, {DownwardAPI: &corev1.DownwardAPIProjection{Items: items}}},
		}}},
	}
	return pod
}

func trim(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	trimmed, err := translate.Trim(pod)
	require.NoError(t, err)
	return trimmed.(*corev1.Pod)
}

func hasRun(pod *corev1.Pod) *corev1.Pod {
	pod.Status.PodIP = "10.0.0.7"
	return pod
}

// Each change is seen whether the Pods are as the API server has them, or as the cache keeps them.
func TestFilesThatDoNotFollowAChange(t *testing.T) {
	const labels, annotations = "metadata.labels", "metadata.annotations"
	app, build, long := labels+"['app']", annotations+"['build']", annotations+"['long']"
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"nothing":          {func(*corev1.Pod) {}, nil},
		"a label":          {func(pod *corev1.Pod) { pod.Labels["app"] = "new" }, []string{labels, app}},
		"another label":    {func(pod *corev1.Pod) { pod.Labels["team"] = "new" }, []string{labels}},
		"a new annotation": {func(pod *corev1.Pod) { pod.Annotations["new"] = "" }, []string{annotations}},
		"an annotation":    {func(pod *corev1.Pod) { pod.Annotations["build"] = "2" }, []string{annotations, build}},
		"a long annotation": {
			func(pod *corev1.Pod) { pod.Annotations["long"] += "x" }, []string{annotations, long},
		},
		"a removed annotation": {
			func(pod *corev1.Pod) { delete(pod.Annotations, "build") }, []string{annotations, build},
		},
		"keys that Spillway writes": {func(pod *corev1.Pod) {
			pod.Annotations[policy.DeletionCostAnnotation] = "-100"
			pod.Annotations[policy.CloudSlotAnnotation] = "uid/0.50_1.0"
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, path := range test.want {
				want = append(want, "file-of-"+path)
			}
			paths := []string{labels, annotations, app, build, long, "metadata.name"}
			before, after := filesPod(paths...), filesPod(paths...)
			test.change(after)
			assert.Equal(t, want, translate.ChangedFiles(before, after))
			assert.Equal(t, want, translate.ChangedFiles(before, trim(t, hasRun(after.DeepCopy()))))
			assert.Equal(t, want, translate.ChangedFiles(trim(t, hasRun(before)), trim(t, hasRun(after))))
		})
	}
}

func TestWhatTheCacheKeepsOfAPod(t *testing.T) {
	const lastApplied = corev1.LastAppliedConfigAnnotation
	long := func() *corev1.Pod {
		pod := filesPod("metadata.annotations['long']")
		pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		pod.Annotations[lastApplied] = "{}"
		pod.Annotations[policy.OnSoldOutAnnotation] = "wait"
		return pod
	}
	t.Run("all that the translation needs, before it has run", func(t *testing.T) {
		want, pod := long(), trim(t, long())
		want.ManagedFields = nil
		delete(want.Annotations, lastApplied)
		assert.Equal(t, want, pod)
	})
	t.Run("also the annotation of kubectl apply, if a file shows all annotations", func(t *testing.T) {
		pod := filesPod("metadata.annotations")
		pod.Annotations[lastApplied] = "{}"
		assert.Contains(t, trim(t, pod).Annotations, lastApplied)
	})
	t.Run("little, after it has run", func(t *testing.T) {
		pod := trim(t, hasRun(long()))
		assert.Len(t, pod.Annotations, 2)
		assert.Equal(t, "wait", pod.Annotations[policy.OnSoldOutAnnotation])
		assert.Contains(t, pod.Annotations["long"], "sha256:")
		want := long().Spec.Containers[0]
		want.Command, want.Args, want.Env = nil, nil, []corev1.EnvVar{{Name: "A"}}
		assert.Equal(t, want, pod.Spec.Containers[0])
		assert.Equal(t, pod.DeepCopy(), trim(t, pod), "a second time changes nothing")
	})
	t.Run("nothing but Pods is changed", func(t *testing.T) {
		other, err := translate.Trim("a tombstone")
		require.NoError(t, err)
		assert.Equal(t, "a tombstone", other)
	})
}

func TestWhichStatusesShowThatAPodHasRun(t *testing.T) {
	assert.False(t, translate.HasRun(&corev1.Pod{}))
	assert.True(t, translate.HasRun(hasRun(&corev1.Pod{})))
}

// An attack: a tenant creates Pods with as many and as long annotations, arguments and variables as the API server
// takes. A file of the downward API shows all of them. 3,000 such Pods once had 800 MB.
func TestLargePodsThatRunAreSmallInTheCache(t *testing.T) {
	const count, most = 50, 16 << 10
	large := func() *corev1.Pod {
		pod := hasRun(filesPod("metadata.annotations"))
		for i := range 1000 {
			pod.Annotations[fmt.Sprintf("example.com/%s-%d", strings.Repeat("k", 50), i)] = strings.Repeat("v", 190)
		}
		pod.Spec.Containers[0].Args = []string{strings.Repeat("a", 256<<10)}
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "E", Value: strings.Repeat("e", 256<<10)}}
		return pod
	}
	memory := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	cache := func(keep func(*corev1.Pod) *corev1.Pod) int64 {
		before, kept := memory(), make([]*corev1.Pod, count)
		for i := range kept {
			kept[i] = keep(large())
		}
		each := (memory() - before) / count
		runtime.KeepAlive(kept)
		return each
	}
	whole := cache(func(pod *corev1.Pod) *corev1.Pod { return pod })
	trimmed := cache(func(pod *corev1.Pod) *corev1.Pod { return trim(t, pod) })
	t.Logf("a Pod has %d KiB as it is, and %d KiB in the cache", whole>>10, trimmed>>10)
	assert.Greater(t, whole, int64(700<<10))
	assert.Less(t, trimmed, int64(most))
}
