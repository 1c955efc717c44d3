package endure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
)

// keep is the number of rounds after which the workloads of a round are deleted.
const keep = 4

// workloads creates, changes and deletes workloads in the cloud, in one namespace.
type workloads struct {
	client    kubernetes.Interface
	namespace string
}

// template returns the template of all Pods. They may run only in the cloud.
func template(app string, restart corev1.RestartPolicy) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app, policy.BurstLabel: string(policy.ModeEnforce)}},
		Spec: corev1.PodSpec{
			RestartPolicy: restart, TerminationGracePeriodSeconds: new(int64(1)), AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "main", Image: "nginx"}},
		},
	}
}

// create creates the workloads of a round: a Deployment, a StatefulSet whose name is reused, and a Job.
func (w workloads) create(ctx context.Context, round int) error {
	set, reused, job := fmt.Sprintf("web-%d", round), fmt.Sprintf("db-%d", round%keep), fmt.Sprintf("job-%d", round)
	_, errDeployment := w.client.AppsV1().Deployments(w.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: set},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": set}},
			Template: template(set, corev1.RestartPolicyAlways),
		},
	}, metav1.CreateOptions{})
	_, errStateful := w.client.AppsV1().StatefulSets(w.namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: reused},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(2)), PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": reused}},
			Template: template(reused, corev1.RestartPolicyAlways),
		},
	}, metav1.CreateOptions{})
	_, errJob := w.client.BatchV1().Jobs(w.namespace).Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: job},
		Spec: batchv1.JobSpec{
			Parallelism: new(int32(2)), Completions: new(int32(2)), BackoffLimit: new(int32(0)),
			Template: template(job, corev1.RestartPolicyNever),
		},
	}, metav1.CreateOptions{})
	return errors.Join(errDeployment, errStateful, errJob)
}

// change changes a workload of a round, or deletes its Pods.
func (w workloads) change(ctx context.Context, round int, random *rand.Rand) error {
	name := fmt.Sprintf("web-%d", round)
	patch := ""
	switch random.IntN(4) {
	case 0:
		patch = fmt.Sprintf(`{"spec":{"replicas":%d}}`, 1+random.IntN(5))
	case 1:
		patch = fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"version":"%d"}}}}}`, random.Uint32())
	case 2:
		return w.deletePods(ctx, "app="+name, nil)
	default:
		return w.deletePods(ctx, fmt.Sprintf("app=db-%d", round%keep), new(int64(0)))
	}
	deployments := w.client.AppsV1().Deployments(w.namespace)
	_, err := deployments.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (w workloads) deletePods(ctx context.Context, selector string, grace *int64) error {
	options := metav1.DeleteOptions{GracePeriodSeconds: grace}
	return w.client.CoreV1().Pods(w.namespace).DeleteCollection(ctx, options, metav1.ListOptions{LabelSelector: selector})
}

// remove deletes the workloads of a round. The garbage collector deletes their Pods.
func (w workloads) remove(ctx context.Context, round int) error {
	options := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
	return errors.Join(
		w.client.AppsV1().Deployments(w.namespace).Delete(ctx, fmt.Sprintf("web-%d", round), options),
		w.client.AppsV1().StatefulSets(w.namespace).Delete(ctx, fmt.Sprintf("db-%d", round%keep), options),
		w.client.BatchV1().Jobs(w.namespace).Delete(ctx, fmt.Sprintf("job-%d", round), options),
	)
}

// unfinished returns an error for each workload that is not running or complete yet.
func (w workloads) unfinished(ctx context.Context) error {
	deployments, err := w.client.AppsV1().Deployments(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range deployments.Items {
		s, want := d.Status, *d.Spec.Replicas
		if s.ObservedGeneration != d.Generation || s.AvailableReplicas != want || s.Replicas != want {
			errs = append(errs, fmt.Errorf("%s has %d replicas, %d available: want %d",
				d.Name, s.Replicas, s.AvailableReplicas, want))
		}
	}
	sets, err := w.client.AppsV1().StatefulSets(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		if s.Status.ReadyReplicas != *s.Spec.Replicas {
			errs = append(errs, fmt.Errorf("%s has %d ready: want %d", s.Name, s.Status.ReadyReplicas, *s.Spec.Replicas))
		}
	}
	jobs, err := w.client.BatchV1().Jobs(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, j := range jobs.Items {
		if j.Status.Succeeded != *j.Spec.Completions {
			errs = append(errs, fmt.Errorf("%s has %d succeeded and %d failed: want %d",
				j.Name, j.Status.Succeeded, j.Status.Failed, *j.Spec.Completions))
		}
	}
	return errors.Join(errs...)
}

// gone returns an error while the StatefulSet exists.
func (w workloads) gone(ctx context.Context, app string) error {
	_, err := w.client.AppsV1().StatefulSets(w.namespace).Get(ctx, app, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%s still exists", app))
}
