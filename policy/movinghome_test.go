package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func moving() policy.MovingHome {
	return policy.MovingHome{
		Hash: "abc", ReplicaSet: "web-abc", ReplicaSetUID: "rs", Deployment: "web", DeploymentUID: "deployment",
		Start: metav1.NewTime(time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)),
	}
}

func TestAMoveIsReadAsItWasWritten(t *testing.T) {
	pod := &corev1.Pod{}
	_, ok := policy.MovingHomeOf(pod)
	assert.False(t, ok)
	pod.Annotations = map[string]string{policy.MovingHomeAnnotation: moving().String()}
	got, ok := policy.MovingHomeOf(pod)
	assert.True(t, ok)
	assert.Equal(t, moving().String(), got.String())
	start := moving().Start
	assert.True(t, start.Equal(&got.Start))
	for _, malformed := range []string{"", "{", "{}", `{"hash":"abc","replicaSet":"web-abc","replicaSetUID":"rs"}`} {
		pod.Annotations[policy.MovingHomeAnnotation] = malformed
		_, ok := policy.MovingHomeOf(pod)
		assert.False(t, ok, malformed)
	}
}

func TestAReleasedPodStaysInItsRevision(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "web-abc-1", UID: "pod",
		Labels: map[string]string{"pod-template-hash": "abc"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-abc", UID: "rs", Controller: new(true),
		}},
	}}
	before := policy.RevisionOf(pod)
	pod.Annotations = map[string]string{policy.MovingHomeAnnotation: moving().String()}
	assert.Equal(t, before, policy.RevisionOf(pod), "before the ReplicaSet has seen it")
	delete(pod.Labels, "pod-template-hash")
	pod.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "deployment"},
	}
	assert.Equal(t, before, policy.RevisionOf(pod))
	pod.Namespace = "other"
	assert.NotEqual(t, before, policy.RevisionOf(pod), "the revision of another namespace is another one")
	pod.Annotations = nil
	assert.Equal(t, policy.Revision{Namespace: "other", Owner: "pod"}, policy.RevisionOf(pod))
}

func TestTheWayHomeIsStoppedByFalseAndByAMalformedValue(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "no": false, "": false} {
		on, err := policy.ParseWayHomeSwitch(map[string]string{policy.WayHomeSwitch: value})
		assert.Equal(t, want, on, value)
		assert.Equal(t, value == "true" || value == "false", err == nil, value)
	}
	on, err := policy.ParseWayHomeSwitch(nil)
	assert.True(t, on)
	assert.NoError(t, err)
}
