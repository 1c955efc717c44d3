package wayhome

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

var began = time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)

// replica returns a Pod of the ReplicaSet that was created so long after the move began, and is bound to a node. It is
// Ready if ready is true.
func replica(name string, after time.Duration, node string, ready bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(began.Add(after)),
			Labels: map[string]string{"app": "web", appsv1.DefaultDeploymentUniqueLabelKey: "abc"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-abc", UID: "rs", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: node},
	}
	if ready {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(began.Add(after)),
		}}
	}
	return pod
}

// underWay returns a move of a Deployment of two replicas, so long after it began. Its Pod was released.
func underWay(elapsed time.Duration, successors ...*corev1.Pod) move {
	m := move{
		MovingHome: policy.MovingHome{
			Hash: "abc", ReplicaSet: "web-abc", ReplicaSetUID: "rs", Deployment: "web", DeploymentUID: "deployment",
			Start: metav1.NewTime(began), After: metav1.NewTime(began.Add(-time.Hour)),
		},
		now: began.Add(elapsed),
		deployment: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
			UID: "deployment", Annotations: map[string]string{revisionAnnotation: "3"},
		}},
		replicaSet: &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{UID: "rs", Annotations: map[string]string{revisionAnnotation: "3"}},
			Spec:       appsv1.ReplicaSetSpec{Replicas: new(int32(2))},
		},
		replicas: append([]*corev1.Pod{replica("old", -time.Hour, "local-0", true)}, successors...),
		isLocal:  func(node string) bool { return node != "virtual-0" },
	}
	m.pod = replica("cloud", -time.Hour, "virtual-0", true)
	delete(m.pod.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	m.pod.OwnerReferences = []metav1.OwnerReference{{UID: "deployment", Name: "web"}}
	return m
}

func TestNext(t *testing.T) {
	const soon, late = 10 * time.Second, 2 * time.Minute
	ready := replica("new", time.Second, "local-0", true)
	starting := replica("new", time.Second, "local-0", false)
	cases := map[string]struct {
		move   move
		change func(*move)
		want   step
		why    string
	}{
		"the successor does not exist yet": {underWay(soon), nil, wait, ""},
		"no successor is created":          {underWay(late), nil, undo, becauseNone},
		"the successor is not bound yet":   {underWay(soon, replica("new", time.Second, "", false)), nil, wait, ""},
		"the successor finds no node": {
			underWay(late, replica("new", time.Second, "", false)), nil, undo, becauseUnbound,
		},
		"the successor starts":               {underWay(late, starting), nil, wait, ""},
		"the successor does not start":       {underWay(11*time.Minute, starting), nil, undo, becauseSlow},
		"the successor is Ready":             {underWay(soon, ready), nil, evict, becauseHome},
		"the successor is Ready at any time": {underWay(time.Hour, ready), nil, evict, becauseHome},
		"the successor went to the cloud": {
			underWay(soon, replica("new", time.Second, "virtual-0", true)), nil, undo, becauseCloud,
		},
		"another replica is not Ready": {underWay(soon, ready), func(m *move) {
			m.replicas[0] = replica("old", -time.Hour, "local-0", false)
		}, wait, ""},
		"the successor must be Ready for minReadySeconds": {underWay(soon, ready), func(m *move) {
			m.replicaSet.Spec.MinReadySeconds = 30
		}, wait, ""},
		"the successor was Ready for minReadySeconds": {underWay(31*time.Second, ready), func(m *move) {
			m.replicaSet.Spec.MinReadySeconds = 30
		}, evict, becauseHome},
		"the workload grew, and not all are Ready": {underWay(soon, ready), func(m *move) {
			m.replicaSet.Spec.Replicas = new(int32(4))
		}, wait, ""},
		"the workload grew, and one of the new Pods is in the cloud": {
			underWay(soon, ready, replica("newer", 2*time.Second, "virtual-0", true)), func(m *move) {
				m.replicaSet.Spec.Replicas = new(int32(3))
			}, evict, becauseHome,
		},
		"the workload shrank, and the successor was deleted": {underWay(late), func(m *move) {
			m.replicaSet.Spec.Replicas = new(int32(1))
		}, undo, becauseNone},
		"the eviction is refused": {underWay(5*time.Minute, ready), func(m *move) {
			m.refusedSince = began.Add(time.Minute)
		}, evict, becauseHome},
		"the eviction is refused for long": {underWay(12*time.Minute, ready), func(m *move) {
			m.refusedSince = began.Add(time.Minute)
		}, undo, becauseRefused},
		"the ReplicaSet has not released the Pod yet": {underWay(soon), func(m *move) {
			m.pod.OwnerReferences = append(m.pod.OwnerReferences, ready.OwnerReferences...)
		}, wait, ""},
		"the ReplicaSet does not release the Pod": {underWay(late), func(m *move) {
			m.pod.OwnerReferences = append(m.pod.OwnerReferences, ready.OwnerReferences...)
		}, undo, becauseAlone},
		"a user has put the label back, and the Pod was adopted": {underWay(soon, ready), func(m *move) {
			m.pod = replica("cloud", -time.Hour, "virtual-0", true)
		}, clean, becauseBack},
		"a user has put the label back, and the Pod was not adopted yet": {underWay(soon, ready), func(m *move) {
			m.pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "abc"
		}, undo, becauseBack},
		"a user has given the Pod to another controller": {underWay(soon, ready), func(m *move) {
			m.pod.OwnerReferences = []metav1.OwnerReference{{UID: "other", Controller: new(true)}}
		}, clean, becauseBack},
		"an update has begun": {underWay(soon, ready), func(m *move) {
			m.deployment.Annotations[revisionAnnotation] = "4"
		}, undo, becauseUpdate},
		"an update has removed the ReplicaSet": {underWay(soon), func(m *move) {
			m.replicaSet = nil
		}, evict, becauseAbandoned},
		"the Deployment is being deleted": {underWay(late), func(m *move) {
			m.deployment.DeletionTimestamp = &metav1.Time{Time: began}
		}, wait, ""},
		"the Deployment was deleted without its ReplicaSet": {underWay(soon), func(m *move) {
			m.deployment = nil
		}, undo, becauseOrphaned},
		"the garbage collector is about to delete the Pod": {underWay(late), func(m *move) {
			m.deployment, m.replicaSet = nil, nil
		}, wait, ""},
		"all owners were deleted without their Pods": {underWay(late), func(m *move) {
			m.deployment, m.replicaSet, m.pod.OwnerReferences = nil, nil, nil
		}, clean, becauseOrphaned},
		"the Pod has ended": {underWay(soon), func(m *move) {
			m.pod.Status.Phase = corev1.PodFailed
		}, undo, becauseEnded},
		"the Pod is terminating": {underWay(late), func(m *move) {
			m.pod.DeletionTimestamp = &metav1.Time{Time: began}
		}, wait, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(&tc.move)
			}
			got, why := tc.move.next()
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.why, why)
		})
	}
}
