package cluster

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/spillway-k8s/spillway/internal/explain"
)

// templates are the paths of Pod templates: that of most workloads, and that of a CronJob.
var templates = [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}}

// IsPod reports whether an object is a Pod.
func IsPod(object *unstructured.Unstructured) bool {
	return object.GroupVersionKind().GroupKind() == schema.GroupKind{Kind: "Pod"}
}

// templateOf returns the Pod template of an object, nil if it has none.
func templateOf(object *unstructured.Unstructured) map[string]any {
	for _, path := range templates {
		template, ok, err := unstructured.NestedMap(object.Object, path...)
		if _, pods := template["spec"]; ok && err == nil && pods {
			return template
		}
	}
	return nil
}

// podOf returns the Pod that an object is, or that it would create. The name is that of the object.
func podOf(object *unstructured.Unstructured) (*corev1.Pod, error) {
	content := object.Object
	if !IsPod(object) {
		if content = templateOf(object); content == nil {
			return nil, fmt.Errorf("%s %s has no Pod template: use a Pod or a workload, such as a Deployment",
				object.GetKind(), object.GetName())
		}
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, pod); err != nil {
		return nil, fmt.Errorf("reading the Pod of %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	pod.Namespace, pod.Name, pod.Spec.NodeName = object.GetNamespace(), object.GetName(), ""
	pod.Status = corev1.PodStatus{}
	if !IsPod(object) {
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Name: object.GetName(), UID: object.GetUID(),
			Controller: new(true),
		}}
	}
	return pod, nil
}

// replicasOf returns how many Pods a workload asks for at once, 0 if that is not known.
func replicasOf(object *unstructured.Unstructured) int {
	for _, field := range []string{"replicas", "parallelism"} {
		if n, ok, err := unstructured.NestedInt64(object.Object, "spec", field); ok && err == nil && n >= 0 {
			return int(min(n, math.MaxInt32))
		}
	}
	return 0
}

// newOwner returns what explanations need of an object that may own Pods.
func newOwner(object *unstructured.Unstructured) *owner {
	return &owner{
		Owner: asOwner(object), uid: object.GetUID(), controller: metav1.GetControllerOf(object), complete: true,
	}
}

// asOwner returns what an explanation says of an owner.
func asOwner(object *unstructured.Unstructured) explain.Owner {
	owner := explain.Owner{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Name: object.GetName(), Labels: object.GetLabels(),
		Annotations: object.GetAnnotations(),
	}
	if template := templateOf(object); template != nil {
		owner.TemplateLabels, _, _ = unstructured.NestedStringMap(template, "metadata", "labels")
	}
	return owner
}
