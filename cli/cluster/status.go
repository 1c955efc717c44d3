package cluster

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/cli/cost"
	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/cli/status"
)

// cached returns options with which the API server answers from its cache.
func cached() metav1.ListOptions { return metav1.ListOptions{ResourceVersion: "0"} }

// Nodes returns what the list of the virtual nodes is made of. It blocks for a list for each of them. It may be called
// repeatedly, and reads everything anew.
func (r *Reader) Nodes(ctx context.Context) (nodes.Input, error) {
	s, err := r.readShared(ctx)
	if err != nil {
		return nodes.Input{}, err
	}
	in := nodes.Input{Policy: r.policy, Prices: r.prices, Nodes: s.nodes, Unknown: s.unknown}
	in.Pods, err = r.onNodes(ctx, s.nodes, &in.Unknown)
	return in, err
}

// Status returns what the status of a namespace is made of, or of all namespaces if the name is empty. It blocks for
// five calls, and for one more for each virtual node if it is of one namespace. It may be called repeatedly, and reads
// everything anew.
func (r *Reader) Status(ctx context.Context, inNamespace string) (status.Input, error) {
	s, err := r.readShared(ctx)
	if err != nil {
		return status.Input{}, err
	}
	in := status.Input{Policy: r.policy, Prices: r.prices, Nodes: s.nodes, Unknown: s.unknown}
	if inNamespace != metav1.NamespaceAll {
		if in.OnNodes, err = r.onNodes(ctx, s.nodes, &in.Unknown); err != nil {
			return status.Input{}, err
		}
	}
	pods, err := r.client.CoreV1().Pods(inNamespace).List(ctx, cached())
	if err := tolerate(&in.Unknown, "the Pods", err); err != nil {
		return status.Input{}, err
	}
	in.Pods = pointers(pods.Items)
	if in.Namespace, err = r.annotations(ctx, inNamespace, &in.Unknown); err != nil {
		return status.Input{}, err
	}
	in.Workload, err = r.workloads(ctx, inNamespace, &in.Unknown)
	return in, err
}

// annotations returns the function that returns the annotations of a namespace. What the user may not read is noted.
func (r *Reader) annotations(
	ctx context.Context, inNamespace string, unknown *[]string,
) (func(name string) map[string]string, error) {
	known, err := r.readAnnotations(ctx, inNamespace)
	return func(name string) map[string]string { return known[name] }, tolerate(unknown, namespaceSettings, err)
}

// namespaceSettings is what is read of namespaces.
const namespaceSettings = "the annotations of namespaces"

// readAnnotations returns the annotations of a namespace, or of all, by name. It blocks for one call.
func (r *Reader) readAnnotations(ctx context.Context, inNamespace string) (map[string]map[string]string, error) {
	known := map[string]map[string]string{}
	if inNamespace != metav1.NamespaceAll {
		one, err := r.client.CoreV1().Namespaces().Get(ctx, inNamespace, metav1.GetOptions{})
		if err == nil {
			known[inNamespace] = one.Annotations
		}
		return known, existing(err)
	}
	all, err := r.client.CoreV1().Namespaces().List(ctx, cached())
	if err != nil {
		return known, err
	}
	for i := range all.Items {
		known[all.Items[i].Name] = all.Items[i].Annotations
	}
	return known, nil
}

// onNodes returns the Pods on nodes. Of a node whose Pods the user may not list there are none.
func (r *Reader) onNodes(ctx context.Context, all []*corev1.Node, unknown *[]string) ([]*corev1.Pod, error) {
	found := []*corev1.Pod{}
	for _, node := range all {
		options := cached()
		options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node.Name).String()
		pods, err := r.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err := tolerate(unknown, "the Pods on node "+node.Name, err); err != nil {
			return nil, err
		}
		found = append(found, pointers(pods.Items)...)
	}
	return found, nil
}

// Cost returns what the cost of a namespace is made of, or of all namespaces if the name is empty. It blocks for six
// calls. If the user may not list all Pods and Nodes, it is not known what fits on local nodes.
func (r *Reader) Cost(ctx context.Context, inNamespace string) (cost.Input, error) {
	s, err := r.readShared(ctx)
	if err != nil {
		return cost.Input{}, err
	}
	in := cost.Input{Policy: r.policy, Prices: r.prices, Virtual: s.nodes, Unknown: s.unknown}
	if in.Cluster, err = r.wholeCluster(ctx, &in.Unknown); err != nil {
		return cost.Input{}, err
	}
	if in.Cluster != nil {
		in.Pods = slices.DeleteFunc(slices.Clone(in.Cluster.Pods), func(pod *corev1.Pod) bool {
			return inNamespace != metav1.NamespaceAll && pod.Namespace != inNamespace
		})
	} else {
		pods, err := r.client.CoreV1().Pods(inNamespace).List(ctx, cached())
		if err := tolerate(&in.Unknown, "the Pods", err); err != nil {
			return cost.Input{}, err
		}
		in.Pods = pointers(pods.Items)
	}
	if in.Namespace, err = r.annotations(ctx, inNamespace, &in.Unknown); err != nil {
		return cost.Input{}, err
	}
	in.Workload, err = r.workloads(ctx, inNamespace, &in.Unknown)
	return in, err
}

// wholeCluster returns all Nodes and Pods, nil if the user may not list them.
func (r *Reader) wholeCluster(ctx context.Context, unknown *[]string) (*cost.Cluster, error) {
	const what = "what fits on local nodes: it takes all Nodes and Pods of the cluster"
	all, err := r.client.CoreV1().Nodes().List(ctx, cached())
	if err != nil {
		return nil, tolerate(unknown, what, err)
	}
	pods, err := r.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, cached())
	if err != nil {
		return nil, tolerate(unknown, what, err)
	}
	return &cost.Cluster{Nodes: pointers(all.Items), Pods: pointers(pods.Items)}, nil
}

// workloads returns the function that names the workload of a Pod of a namespace, or of all.
func (r *Reader) workloads(
	ctx context.Context, inNamespace string, unknown *[]string,
) (func(*corev1.Pod) string, error) {
	sets, err := r.client.AppsV1().ReplicaSets(inNamespace).List(ctx, cached())
	if err := tolerate(unknown, "the ReplicaSets", err); err != nil {
		return nil, err
	}
	jobs, err := r.client.BatchV1().Jobs(inNamespace).List(ctx, cached())
	if err := tolerate(unknown, "the Jobs", err); err != nil {
		return nil, err
	}
	controllers := controllersOf(pointers(sets.Items), pointers(jobs.Items))
	return func(pod *corev1.Pod) string { return workloadOf(pod, controllers) }, nil
}

// controllersOf returns the controllers of ReplicaSets and Jobs, by the UID of these.
func controllersOf(sets []*appsv1.ReplicaSet, jobs []*batchv1.Job) map[types.UID]*metav1.OwnerReference {
	controllers := make(map[types.UID]*metav1.OwnerReference, len(sets)+len(jobs))
	for _, set := range sets {
		controllers[set.UID] = metav1.GetControllerOf(set)
	}
	for _, job := range jobs {
		controllers[job.UID] = metav1.GetControllerOf(job)
	}
	return controllers
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
