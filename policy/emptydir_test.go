package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/spillway-k8s/spillway/policy"
)

// mounting returns a spec with emptyDirs whose containers mount a volume, with a subPath after a colon.
func mounting(volumes []string, containers ...[]string) *corev1.PodSpec {
	spec := &corev1.PodSpec{}
	for _, name := range volumes {
		spec.Volumes = append(spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		})
	}
	for i, mounts := range containers {
		c := corev1.Container{Name: fmt.Sprint("c", i)}
		for _, mount := range mounts {
			volume, subPath, _ := strings.Cut(mount, ":")
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, SubPath: subPath})
		}
		spec.Containers = append(spec.Containers, c)
	}
	return spec
}

func TestSplitEmptyDirs(t *testing.T) {
	long := strings.Repeat("v", validation.DNS1123LabelMaxLength)
	for name, test := range map[string]struct {
		spec, want *corev1.PodSpec
	}{
		"one directory is the volume": {
			mounting([]string{"v"}, []string{"v:0"}), mounting([]string{"v"}, []string{"v"}),
		},
		"containers that mount the same directory share it": {
			mounting([]string{"v"}, []string{"v:a", "v:b"}, []string{"v:./b/"}),
			mounting([]string{"v", "v-1"}, []string{"v", "v-1"}, []string{"v-1"}),
		},
		"names that are taken are not used": {
			mounting([]string{"v", "v-1", "w"}, []string{"v:a", "v:b", "w:a", "w:b"}),
			mounting([]string{"v", "v-2", "v-1", "w", "w-3"}, []string{"v", "v-2", "w", "w-3"}),
		},
		"names are not too long": {
			mounting([]string{long}, []string{long + ":a", long + ":b"}),
			mounting([]string{long, long[2:] + "-1"}, []string{long, long[2:] + "-1"}),
		},
		"a volume that is also mounted as a whole stays": {
			mounting([]string{"v", "w"}, []string{"v:a", "w:a"}, []string{"v"}),
			mounting([]string{"v", "w"}, []string{"v:a", "w"}, []string{"v"}),
		},
		"a directory that contains another one stays": {
			mounting([]string{"v"}, []string{"v:a", "v:a-b"}, []string{"v:a/b"}),
			mounting([]string{"v"}, []string{"v:a", "v:a-b"}, []string{"v:a/b"}),
		},
		"a path that is no directory of the volume stays": {
			mounting([]string{"v", "w"}, []string{"v:..", "w:."}), mounting([]string{"v", "w"}, []string{"v:..", "w:."}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy.SplitEmptyDirs(test.spec)
			assert.Equal(t, test.want, test.spec)
		})
	}
}

// An attack: a Pod of the largest size that the API server accepts must not keep the extender busy.
func TestManyDirectoriesAreSplitInTime(t *testing.T) {
	const many = 20_000
	mounts := make([]string, many)
	for i := range mounts {
		mounts[i] = fmt.Sprint("v:", i)
	}
	spec := mounting([]string{"v"}, mounts, []string{"v:d" + strings.Repeat("/d", 500_000)})
	start := time.Now()
	policy.SplitEmptyDirs(spec)
	assert.Less(t, time.Since(start), 10*time.Second)
	assert.Len(t, spec.Volumes, many+1)
}
