package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/cli/status"
)

// Status returns what the status of a namespace is made of, or of all namespaces if the name is empty. It blocks for
// four lists, whatever the number of Pods. It may be called repeatedly, and reads everything anew.
func (r *Reader) Status(ctx context.Context, inNamespace string) (status.Input, error) {
	s, err := r.readShared(ctx)
	if err != nil {
		return status.Input{}, err
	}
	in := status.Input{Policy: r.policy, Nodes: s.nodes, Unknown: s.unknown}
	cached := metav1.ListOptions{ResourceVersion: "0"}
	pods, err := r.client.CoreV1().Pods(inNamespace).List(ctx, cached)
	if err := tolerate(&in.Unknown, "the Pods", err); err != nil {
		return status.Input{}, err
	}
	in.Pods = pointers(pods.Items)
	controllers := map[types.UID]*metav1.OwnerReference{}
	sets, err := r.client.AppsV1().ReplicaSets(inNamespace).List(ctx, cached)
	if err := tolerate(&in.Unknown, "the ReplicaSets", err); err != nil {
		return status.Input{}, err
	}
	for i := range sets.Items {
		controllers[sets.Items[i].UID] = metav1.GetControllerOf(&sets.Items[i])
	}
	jobs, err := r.client.BatchV1().Jobs(inNamespace).List(ctx, cached)
	if err := tolerate(&in.Unknown, "the Jobs", err); err != nil {
		return status.Input{}, err
	}
	for i := range jobs.Items {
		controllers[jobs.Items[i].UID] = metav1.GetControllerOf(&jobs.Items[i])
	}
	in.Workload = func(pod *corev1.Pod) string { return workloadOf(pod, controllers) }
	return in, nil
}

// workloadOf returns the outermost controller of a Pod that is known: a Deployment in place of its ReplicaSet, and a
// CronJob in place of its Job. A Pod without a controller is its own workload.
func workloadOf(pod *corev1.Pod, controllers map[types.UID]*metav1.OwnerReference) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "Pod " + pod.Name
	}
	if outer := controllers[owner.UID]; outer != nil {
		owner = outer
	}
	return owner.Kind + " " + owner.Name
}
