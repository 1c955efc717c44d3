package play

import (
	"fmt"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

const (
	// appLabel is the label by which a workload selects its Pods.
	appLabel = record.AppLabel
	// RoomLabel is the label by which Pods select local nodes: RoomWide, or the name of a small node.
	RoomLabel = record.RoomLabel
	RoomWide  = "wide"
	// revisionAnnotation distinguishes the revisions of a template.
	revisionAnnotation = "proof/revision"
)

// TightNode returns the name of the i-th small node.
func TightNode(i int) string { return fmt.Sprintf("tight-%d", i) }

// object returns the workload as it is first created.
func object(w *plan.Workload) runtime.Object {
	meta := metav1.ObjectMeta{Name: w.Name}
	if w.OnWorkload {
		meta.Annotations = settings(w, w.Settings)
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: w.Name}}
	replicas := new(int32(w.Replicas))
	template := template(w)
	switch w.Kind {
	case plan.ReplicaSet:
		spec := appsv1.ReplicaSetSpec{Replicas: replicas, Selector: selector, Template: template}
		return &appsv1.ReplicaSet{ObjectMeta: meta, Spec: spec}
	case plan.StatefulSet:
		spec := appsv1.StatefulSetSpec{Replicas: replicas, Selector: selector, Template: template}
		set := &appsv1.StatefulSet{ObjectMeta: meta, Spec: spec}
		if w.Parallel {
			set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		}
		return set
	case plan.Job:
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		return &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{
			Parallelism: replicas, Completions: new(int32(2 * w.Replicas)), BackoffLimit: new(int32(6)),
			Template: template,
		}}
	default:
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: replicas, Selector: selector, Template: template, Strategy: strategy(w),
		}}
	}
}

func strategy(w *plan.Workload) appsv1.DeploymentStrategy {
	surge, unavailable := intstr.Parse(w.Surge), intstr.Parse(w.Unavailable)
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func template(w *plan.Workload) corev1.PodTemplateSpec {
	required := &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: room(w)}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{appLabel: w.Name},
			// For the Pods of a Job in the cloud. On local nodes KWOK ends them at once.
			Annotations: map[string]string{revisionAnnotation: "0"},
		},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{container(w)},
			Affinity:                      &corev1.Affinity{NodeAffinity: required},
			PriorityClassName:             w.Priority,
			SchedulerName:                 w.Scheduler,
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
	if w.Kind == plan.Job {
		template.Annotations[ccisim.BehaviorRunSeconds] = "2"
	}
	if w.Quota != nil {
		template.Annotations[policy.LocalReplicasAnnotation] = strconv.Itoa(*w.Quota)
	}
	if !w.OnWorkload {
		maps.Copy(template.Annotations, settings(w, w.Settings))
	}
	if w.Burst != policy.ModeNone {
		template.Labels[policy.BurstLabel] = string(w.Burst)
	}
	return template
}

// settings returns the annotations of a workload that its Pods inherit.
func settings(w *plan.Workload, shares map[string]string) map[string]string {
	all := maps.Clone(shares)
	if w.WayHome {
		all[policy.WayHomeAnnotation] = "true"
	}
	return all
}

// budget returns the PodDisruptionBudget of a workload.
func budget(w *plan.Workload) *policyv1.PodDisruptionBudget {
	least := intstr.FromInt(w.MinAvailable)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: w.Name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: w.Name}},
		},
	}
}

func container(w *plan.Workload) corev1.Container {
	requests := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(w.CPU), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("64Mi"),
	}
	return corev1.Container{
		Name: "main", Image: "registry.example/team/app:1.0",
		Resources: corev1.ResourceRequirements{Requests: requests},
	}
}

// room returns the nodes that the Pods fit on: one term for local nodes, one for the cloud.
func room(w *plan.Workload) *corev1.NodeSelector {
	at := RoomWide
	if w.Nodes == plan.Tight || w.Nodes == plan.TightOnly {
		at = TightNode(w.Node)
	}
	terms := []corev1.NodeSelectorTerm{nodesWith(RoomLabel, at)}
	if w.Nodes == plan.Wide || w.Nodes == plan.Tight {
		terms = append(terms, nodesWith(policy.NodeTypeLabel, policy.NodeTypeVirtual))
	}
	return &corev1.NodeSelector{NodeSelectorTerms: terms}
}

func nodesWith(label, value string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{value}},
	}}
}
