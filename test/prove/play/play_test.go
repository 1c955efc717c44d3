package play

import (
	"testing"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/proxy"
)

func TestEveryFaultOfThePlanCanBePlayed(t *testing.T) {
	f := &Faults{asExtender: &proxy.APIServer{}, asScheduler: &proxy.APIServer{}, extender: &proxy.Extender{}}
	for _, fault := range plan.Faults(true) {
		_, _, endsAProcess := process(fault)
		_, begins := f.begins()[fault]
		assert.True(t, endsAProcess != begins || fault == plan.SuspendExtender || fault == plan.JumpExtender, fault)
	}
}

func TestProcessesOfFaults(t *testing.T) {
	name, kills, ok := process(plan.KillAPIServer)
	assert.Equal(t, []any{"kube-apiserver", true, true}, []any{name, kills, ok})
	name, kills, ok = process(plan.RestartScheduler)
	assert.Equal(t, []any{"kube-scheduler", false, true}, []any{name, kills, ok})
	_, _, ok = process(plan.AnswersSlow)
	assert.False(t, ok)
}

func TestAWorkloadIsCreatedAsPlanned(t *testing.T) {
	w := &plan.Workload{
		Name: "web", Replicas: 3, Quota: new(1), Burst: policy.ModeAuto, Nodes: plan.Tight, Node: 2, CPU: 300,
		Surge: "25%", Unavailable: "1",
	}
	for kind, templateOf := range map[plan.Kind]func(any) corev1.PodTemplateSpec{
		plan.Deployment:  func(o any) corev1.PodTemplateSpec { return o.(*appsv1.Deployment).Spec.Template },
		plan.ReplicaSet:  func(o any) corev1.PodTemplateSpec { return o.(*appsv1.ReplicaSet).Spec.Template },
		plan.StatefulSet: func(o any) corev1.PodTemplateSpec { return o.(*appsv1.StatefulSet).Spec.Template },
		plan.Job:         func(o any) corev1.PodTemplateSpec { return o.(*batchv1.Job).Spec.Template },
	} {
		t.Run(string(kind), func(t *testing.T) {
			w.Kind = kind
			template := templateOf(object(w))
			assert.Equal(t, "1", template.Annotations[policy.LocalReplicasAnnotation])
			assert.Equal(t, "auto", template.Labels[policy.BurstLabel])
			assert.Equal(t, "300m", template.Spec.Containers[0].Resources.Requests.Cpu().String())
			terms := template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			assert.Equal(t, []corev1.NodeSelectorTerm{
				nodesWith(RoomLabel, TightNode(2)), nodesWith(policy.NodeTypeLabel, policy.NodeTypeVirtual),
			}, terms)
		})
	}
	w.Nodes = plan.WideOnly
	assert.Len(t, room(w).NodeSelectorTerms, 1)
}
