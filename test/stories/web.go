package stories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
)

// annotations are those of a workload, as users write them.
type annotations map[string]string

// args returns them as arguments of kubectl annotate, in the order of their keys.
func (a annotations) args() []string {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		args = append(args, key+"="+a[key])
	}
	return args
}

// web is a Deployment of the stories about shares, waits and the way home.
type web struct {
	name     string
	replicas int32
	// own are the annotations of the Deployment, template those of its Pods, labels those of its Pods besides app.
	own, template annotations
	labels        map[string]string
	// cpu is the request of each Pod. A local node has 4.
	cpu string
	// maxUnavailable is what a rolling update may take away, without a surge. It is empty for the default strategy.
	maxUnavailable string
	// minReadySeconds is after how many seconds a Pod that is Ready is available.
	minReadySeconds int32
}

func (d web) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": d.name}
	podLabels := maps.Clone(labels)
	maps.Copy(podLabels, d.labels)
	out := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: d.name, Annotations: d.own},
		Spec: appsv1.DeploymentSpec{
			Replicas: &d.replicas, MinReadySeconds: d.minReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: podLabels, Annotations: d.template},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: new(int64(1)),
					Containers:                    []corev1.Container{{Name: "main", Image: "nginx"}},
				},
			},
		},
	}
	if d.cpu != "" {
		out.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(d.cpu),
		}
	}
	if d.maxUnavailable != "" {
		out.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{
			MaxSurge: new(intstr.FromInt32(0)), MaxUnavailable: new(intstr.Parse(d.maxUnavailable)),
		}
	}
	return out
}

// start applies the Deployment.
func (w *World) start(ctx context.Context, d web) error {
	w.printf("Deployment %s: %d replicas, its annotations [%s], those of its Pods [%s]", d.name, d.replicas,
		strings.Join(d.own.args(), " "), strings.Join(d.template.args(), " "))
	return w.applyObject(ctx, d.deployment())
}

// annotate changes annotations of a workload.
func (w *World) annotate(ctx context.Context, workload string, args ...string) error {
	return w.run(ctx, append([]string{"annotate", "--overwrite", workload}, args...)...)
}

// scale scales a Deployment, and waits until its Pods run where they should.
func (w *World) scale(ctx context.Context, name string, replicas, local int) error {
	if err := w.run(ctx, "scale", "deployment", name, fmt.Sprintf("--replicas=%d", replicas)); err != nil {
		return err
	}
	return w.awaitRunning(ctx, name, local, replicas-local)
}

// withoutLocalNodes calls play while the local nodes are cordoned, and then uncordons them.
func (w *World) withoutLocalNodes(ctx context.Context, play func(context.Context) error) (err error) {
	nodes, err := w.localNodes(ctx)
	if err != nil {
		return err
	}
	if err := w.run(ctx, append([]string{"cordon"}, nodes...)...); err != nil {
		return err
	}
	defer func() {
		if uncordonErr := w.run(context.WithoutCancel(ctx), append([]string{"uncordon"}, nodes...)...); err == nil {
			err = uncordonErr
		}
	}()
	return play(ctx)
}

// localNodes returns the names of the local nodes.
func (w *World) localNodes(ctx context.Context) ([]string, error) {
	list, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var names []string
	for _, node := range list.Items {
		if !policy.IsVirtualNode(node.Labels) {
			names = append(names, node.Name)
		}
	}
	return names, nil
}

// awaitHeld blocks until exactly the given numbers of Pods run on local nodes and in the cloud and wait, all of the
// latter with one of the reasons in their condition. It returns the Pods that wait.
func (w *World) awaitHeld(
	ctx context.Context, app string, local, cloud, waiting int, reason policy.Reason,
) ([]corev1.Pod, error) {
	what := fmt.Sprintf("%d pods of %s on local nodes, %d in the cloud, and %d to wait with the reason %s", local, app,
		cloud, waiting, reason)
	want := podCounts{local: local, cloud: cloud, pending: waiting, running: local + cloud}
	var held []corev1.Pod
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil || count(pods) != want {
			return false, count(pods).String(), err
		}
		held = nil
		for i := range pods {
			if pods[i].Spec.NodeName != "" {
				continue
			}
			if text := schedulingMessage(&pods[i]); !strings.Contains(text, string(reason)) {
				return false, fmt.Sprintf("pod %s waits: %s", pods[i].Name, text), nil
			}
			held = append(held, pods[i])
		}
		return true, "", nil
	})
	if err != nil {
		return nil, err
	}
	w.printf("  %s: %d local, %d in the cloud, %d waiting", app, local, cloud, waiting)
	if len(held) > 0 {
		w.printf("  %s", schedulingMessage(&held[0]))
	}
	return held, nil
}

// identities returns the UIDs of Pods that are not terminating, in order.
func identities(pods []corev1.Pod) []types.UID {
	var uids []types.UID
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			uids = append(uids, pod.UID)
		}
	}
	slices.Sort(uids)
	return uids
}

// keepsAll checks that all Pods of an earlier time still exist.
func (w *World) keepsAll(ctx context.Context, app string, before []corev1.Pod) error {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	now := identities(pods)
	for _, uid := range identities(before) {
		if !slices.Contains(now, uid) {
			return fmt.Errorf("the pod with UID %s of %s is gone: no Pod should have been replaced", uid, app)
		}
	}
	return nil
}

// onlyRevision checks that a Deployment has one ReplicaSet: nothing was rolled out.
func (w *World) onlyRevision(ctx context.Context, app string) error {
	list, err := w.client.AppsV1().ReplicaSets(w.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return fmt.Errorf("listing the ReplicaSets of %s: %w", app, err)
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("%s has %d ReplicaSets: want one, because nothing should roll out", app, len(list.Items))
	}
	return nil
}
