package podcache

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// waitingPod returns a Pod for which the scheduler has found no node.
func waitingPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "u1", ResourceVersion: "7",
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", Controller: new(true)},
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable},
		}},
	}
}

func annotate(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
}

func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{key: value} }
}

func beingDeleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }

func ownedBy(kind string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.OwnerReferences[0].Kind = kind }
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

func TestIsWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"a Pod without a node waits":                {func(*corev1.Pod) {}, true},
		"a Pod with a node does not wait":           {func(p *corev1.Pod) { p.Spec.NodeName = "local-1" }, false},
		"a Pod that is being deleted does not wait": {beingDeleted, false},
		"a Pod with a nominated node does not wait": {
			func(p *corev1.Pod) { p.Status.NominatedNodeName = "local-1" }, false,
		},
		"a Pod without the condition does not wait": {func(p *corev1.Pod) { p.Status.Conditions = nil }, false},
		"a failed Pod does not wait":                {inPhase(corev1.PodFailed), false},
		"a Pod of a DaemonSet does not wait":        {ownedBy("DaemonSet"), false},
		"a Pod with a scheduling gate does not wait": {func(p *corev1.Pod) {
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
		}, false},
		"a Pod whose scheduling failed with an error does not wait": {func(p *corev1.Pod) {
			p.Status.Conditions[0].Reason = corev1.PodReasonSchedulerError
		}, false},
		"a scheduled Pod does not wait": {func(p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionTrue
		}, false},
		"a Pod with a DaemonSet as an owner that is not the controller waits": {func(p *corev1.Pod) {
			p.OwnerReferences[0].Kind, p.OwnerReferences[0].Controller = "DaemonSet", nil
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			test.change(pod)
			assert.Equal(t, test.want, IsWaiting(pod))
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexWaiting(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, len(found) == 1, "the index has the same Pods")
		})
	}
}

func TestIsMalformed(t *testing.T) {
	malformed := label(policy.BurstLabel, "x")
	both := func(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for _, change := range changes {
				change(p)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"malformed quota":             {annotate(policy.LocalReplicasAnnotation, "x"), true},
		"malformed local switch":      {annotate(policy.SwitchKey, "x"), true},
		"malformed burst label":       {malformed, true},
		"malformed alias":             {label(policy.BurstLabelAlias, "x"), true},
		"malformed replacements":      {annotate(policy.HostPathReplacementAnnotation, "x"), true},
		"valid quota":                 {annotate(policy.LocalReplicasAnnotation, "1"), false},
		"no keys":                     {func(*corev1.Pod) {}, false},
		"malformed and being deleted": {both(malformed, beingDeleted), false},
		"malformed and failed":        {both(malformed, inPhase(corev1.PodFailed)), false},
		"malformed on a DaemonSet":    {both(malformed, ownedBy("DaemonSet")), false},
	} {
		for _, node := range []string{"", "local-1"} {
			t.Run(name+" on node "+node, func(t *testing.T) {
				pod := waitingPod()
				pod.Spec.NodeName, pod.ManagedFields = node, nil
				test.change(pod)
				kept, err := slim(pod.DeepCopy())
				require.NoError(t, err)
				assert.Equal(t, test.want, IsMalformed(pod))
				if test.want {
					assert.Equal(t, pod, kept, "the cache keeps all of the Pod, because it must be evaluated")
				}
			})
		}
	}
}

func TestHasGroupQuota(t *testing.T) {
	quota := map[string]string{policy.LocalReplicasAnnotation: "1"}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"with a quota":    {func(p *corev1.Pod) { p.Annotations = quota }, true},
		"without a quota": {func(*corev1.Pod) {}, false},
		"without a group": {func(p *corev1.Pod) { p.Annotations, p.Spec.SchedulingGroup = quota, nil }, false},
		"finished":        {func(p *corev1.Pod) { p.Annotations, p.Status.Phase = quota, corev1.PodSucceeded }, false},
		"without a quota, but with the condition": {func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: policy.LocalReplicasCondition})
		}, true},
	} {
		for _, node := range []string{"", "local-1"} {
			t.Run(name+" on node "+node, func(t *testing.T) {
				pod := waitingPod()
				pod.Spec.NodeName, pod.ManagedFields = node, nil
				pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
				test.change(pod)
				kept, err := slim(pod.DeepCopy())
				require.NoError(t, err)
				assert.Equal(t, test.want, HasGroupQuota(pod))
				if test.want {
					assert.Equal(t, pod, kept, "the cache keeps all of the Pod, because it must be evaluated")
				}
			})
		}
	}
}

func TestIsUnranked(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"a Pod of a ReplicaSet":            {func(*corev1.Pod) {}, true},
		"a Pod without a node":             {func(p *corev1.Pod) { p.Spec.NodeName = "" }, false},
		"a Pod with a cost":                {annotate(policy.DeletionCostAnnotation, "5"), false},
		"a Pod with an empty cost":         {annotate(policy.DeletionCostAnnotation, ""), false},
		"a Pod with other annotations":     {annotate("a", "b"), true},
		"a Pod of a ReplicationController": {ownedBy("ReplicationController"), true},
		"a Pod of a CloneSet":              {ownedBy("CloneSet"), true},
		"a Pod of a StatefulSet":           {ownedBy("StatefulSet"), false},
		"a Pod of a Job":                   {ownedBy("Job"), false},
		"a Pod without an owner":           {func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		"a Pod that is being deleted":      {beingDeleted, false},
		"a Pod that has succeeded":         {inPhase(corev1.PodSucceeded), false},
		"a Pod that has failed":            {inPhase(corev1.PodFailed), false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			pod.Spec.NodeName, pod.Status = "virtual-node-cci-0", corev1.PodStatus{Phase: corev1.PodRunning}
			test.change(pod)
			assert.Equal(t, test.want, IsUnranked(pod))
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexUnranked(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, len(found) == 1, "the index has the same Pods")
		})
	}
}

func TestRevisionIndex(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"a Pod of a ReplicaSet":          {func(*corev1.Pod) {}, []string{"shop/o1//"}},
		"a Pod of a controller revision": {label("controller-revision-hash", "h"), []string{"shop/o1/h/"}},
		"a Pod without an owner":         {func(p *corev1.Pod) { p.OwnerReferences = nil }, []string{"shop/u1//"}},
		"a Pod of a template of another controller": {func(p *corev1.Pod) {
			p.Name = "pi-worker-0"
			p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind = "kubeflow.org/v2beta1", "MPIJob"
		}, []string{"shop/o1//pi-worker"}},
		"a Pod without shares":        {func(p *corev1.Pod) { p.Annotations = nil }, []string{"shop/o1//"}},
		"a Pod without a node":        {func(p *corev1.Pod) { p.Spec.NodeName = "" }, []string{"shop/o1//"}},
		"a Pod that is being deleted": {beingDeleted, nil},
		"a Pod that has succeeded":    {inPhase(corev1.PodSucceeded), nil},
		"a Pod with a malformed quota": {func(p *corev1.Pod) {
			p.Annotations[policy.LocalReplicasAnnotation] = "x"
		}, []string{"shop/o1//"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			pod.Spec.NodeName, pod.Status.Phase, pod.OwnerReferences[0].UID = "local-1", corev1.PodRunning, "o1"
			pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1", "note": "long"}
			test.change(pod)
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexRevision(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, found)
		})
	}
}

func TestSlimKeepsWaitingPods(t *testing.T) {
	pod := waitingPod()
	kept, err := slim(pod.DeepCopy())
	require.NoError(t, err)
	pod.ManagedFields = nil
	assert.Equal(t, pod, kept)

	other, err := slim("not a Pod")
	require.NoError(t, err)
	assert.Equal(t, "not a Pod", other)
}
