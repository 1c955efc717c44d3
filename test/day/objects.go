package day

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// appLabel is the label by which workloads, Services and PodDisruptionBudgets select Pods.
	appLabel = "app"
	// maxUnavailable is that of every PodDisruptionBudget.
	maxUnavailable = 1
	// grace is the grace period of every Pod, in seconds.
	grace = 5
)

func (w workload) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: w.name, Annotations: w.annotations}
}

func (w workload) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: w.name}}
}

func (w workload) template() corev1.PodTemplateSpec {
	labels := map[string]string{appLabel: w.name}
	if len(w.annotations) == 0 {
		labels[policy.BurstLabel] = string(policy.ModeLocalPrefer)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{policy.SwitchKey: "true"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(grace)),
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example/team/app:1.0",
				Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU:    *resource.NewMilliQuantity(w.milliCPU, resource.DecimalSI),
					corev1.ResourceMemory: resource.MustParse("512Mi"),
				}},
			}},
		},
	}
}

func (w workload) deployment(replicas int) *appsv1.Deployment {
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	if w.kind == steady {
		surge, unavailable = unavailable, surge
	}
	return &appsv1.Deployment{ObjectMeta: w.meta(), Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(replicas)), Selector: w.selector(), Template: w.template(),
		Strategy: appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
		},
	}}
}

func (w workload) statefulSet(replicas int) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: w.meta(), Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(replicas)), Selector: w.selector(), Template: w.template(), ServiceName: w.name,
	}}
}

func (w workload) service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: corev1.ServiceSpec{
		Selector: w.selector().MatchLabels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
}

func (w workload) budget() *policyv1.PodDisruptionBudget {
	unavailable := intstr.FromInt32(maxUnavailable)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &unavailable, Selector: w.selector()},
	}
}
