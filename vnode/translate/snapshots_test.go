package translate_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/translate"
)

func TestImagesOfWhichASnapshotMayBeMade(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}
	translator := newTranslator(t, input{
		ImagePrefixes: []translate.ImagePrefix{{From: "docker.io/", To: "swr.example.com/hub/"}},
	})
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"each image once, by its name in the cloud": {func(*corev1.Pod) {},
			[]string{"init:1", "swr.example.com/hub/nginx:1"}},
		"an image that the cloud has not pulled": {func(pod *corev1.Pod) {
			pod.Status.InitContainerStatuses[0].State = waiting
		}, []string{"swr.example.com/hub/nginx:1"}},
		"nothing is known yet": {func(pod *corev1.Pod) { pod.Status = corev1.PodStatus{} }, nil},
		"an image that is always pulled": {func(pod *corev1.Pod) {
			pod.Spec.InitContainers[0].ImagePullPolicy = corev1.PullAlways
		}, []string{"swr.example.com/hub/nginx:1"}},
		"credentials of the Pod": {func(pod *corev1.Pod) {
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "default-secret"}, {Name: "mine"}}
		}, nil},
		"credentials of the service": {func(pod *corev1.Pod) {
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "default-secret"}, {Name: ""}}
		}, []string{"init:1", "swr.example.com/hub/nginx:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "init", Image: "init:1"}},
					Containers: []corev1.Container{
						{Name: "a", Image: "docker.io/nginx:1"}, {Name: "b", Image: "docker.io/nginx:1"}, {Name: "c"},
					},
				},
				Status: corev1.PodStatus{
					InitContainerStatuses: []corev1.ContainerStatus{{Name: "init", State: ended}},
					ContainerStatuses: []corev1.ContainerStatus{
						{Name: "a", State: running}, {Name: "b", State: running}, {Name: "c", State: running},
					},
				},
			}
			test.change(pod)
			assert.Equal(t, test.want, translator.SnapshotImages(pod))
		})
	}
}
