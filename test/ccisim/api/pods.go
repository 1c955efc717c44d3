package api

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

const (
	annotationMonitor = "openvessel.io/monitoring-aominfo"
	labelProject      = "tenant.kubernetes.io/project-id"
	labelDomain       = "tenant.kubernetes.io/domain-id"
	labelEnterprise   = "sys_enterprise_project_id"
)

// serverAnnotations and serverLabels are the service's. A client cannot change them.
var (
	serverAnnotations = []string{annotationSize, objects.AnnotationTenant, annotationMonitor,
		objects.AnnotationNetStatus, objects.AnnotationVMNetwork, objects.AnnotationGroupName,
		corev1.LabelTopologyRegion, corev1.LabelTopologyZone}
	serverLabels = []string{labelEnterprise, labelProject, labelDomain, objects.AnnotationTenant, objects.LabelVM}
)

// podAdmission admits Pods of CCI 2.0. The rules are in podadmission.go.
type podAdmission struct{ plain }

func (podAdmission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	pod := obj.(*objects.Pod)
	s.dropForeignAffinity(pod)
	setPodDefaults(pod)
	if refusal := admitPod(s, pod); refusal != nil {
		return refusal
	}
	size, err := billedSize(pod)
	if err != nil {
		return forbidden(objects.Pods, pod.Name, "%s", err)
	}
	objects.SetAnnotation(&pod.ObjectMeta, annotationSize, size.String())
	dropPullPolicies(pod)
	completePod(pod, caller)
	return nil
}

// completePod sets what the service sets in every new Pod.
func completePod(pod *objects.Pod, caller *Credential) {
	pod.Finalizers = []string{objects.PodFinalizer}
	objects.SetAnnotation(&pod.ObjectMeta, objects.AnnotationTenant, caller.ProjectID)
	objects.SetAnnotation(&pod.ObjectMeta, annotationMonitor, fmt.Sprintf("%s:%s", caller.ProjectID, pod.UID))
	setTenantLabels(&pod.ObjectMeta, caller)
	pod.Spec.SchedulerName = objects.PodScheduler
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
}

// setTenantLabels sets the labels that the service gives to objects in a namespace.
func setTenantLabels(meta *metav1.ObjectMeta, caller *Credential) {
	objects.SetLabel(meta, labelEnterprise, "0")
	objects.SetLabel(meta, labelProject, caller.ProjectID)
	objects.SetLabel(meta, labelDomain, caller.DomainID)
	objects.SetLabel(meta, objects.AnnotationTenant, caller.ProjectID)
}

// keepServerKeys keeps the labels and annotations of the service in an update.
func keepServerKeys(was, will *metav1.ObjectMeta) {
	for _, name := range serverAnnotations {
		if value, ok := was.Annotations[name]; ok {
			objects.SetAnnotation(will, name, value)
		}
	}
	for _, name := range serverLabels {
		if value, ok := was.Labels[name]; ok {
			objects.SetLabel(will, name, value)
		}
	}
}

// dropPullPolicies removes what the service accepts and, as its published examples show, does not keep.
func dropPullPolicies(pod *objects.Pod) {
	for _, c := range objects.AllContainers(pod) {
		c.ImagePullPolicy = ""
	}
}

func hasPullPolicy(c *corev1.Container) bool { return c.ImagePullPolicy != "" }

// prepareUpdate allows only changes of the fields that the vendor lists for PATCH. The labels and annotations of the
// service are kept.
func (podAdmission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.(*objects.Pod), next.(*objects.Pod)
	will.Status = *was.Status.DeepCopy()
	keepServerKeys(&was.ObjectMeta, &will.ObjectMeta)
	if !slices.ContainsFunc(objects.AllContainers(was), hasPullPolicy) {
		dropPullPolicies(will)
	}
	setPodDefaults(will)
	if errs := validateImages(will); len(errs) > 0 {
		return invalid(objects.Pods, will.Name, errs)
	}
	return checkPodChange(was, will)
}

func checkPodChange(was, will *objects.Pod) *apiError {
	allowed := was.DeepCopy()
	allowed.Spec.Tolerations = will.Spec.Tolerations
	allowed.Spec.ActiveDeadlineSeconds = will.Spec.ActiveDeadlineSeconds
	copyImages(allowed.Spec.Containers, will.Spec.Containers)
	copyImages(allowed.Spec.InitContainers, will.Spec.InitContainers)
	if apiequality.Semantic.DeepEqual(allowed.Spec, will.Spec) {
		return nil
	}
	return invalid(objects.Pods, will.Name, field.ErrorList{field.Forbidden(field.NewPath("spec"),
		"pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "+
			"`spec.activeDeadlineSeconds`, `spec.tolerations`")})
}

func copyImages(to, from []corev1.Container) {
	for i := range to {
		if i < len(from) {
			to[i].Image = from[i].Image
		}
	}
}

// qosClass returns the quality-of-service class of Kubernetes.
func qosClass(pod *objects.Pod) corev1.PodQOSClass {
	guaranteed, sized := true, false
	for _, c := range objects.AllContainers(pod) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
			sized = sized || !request.IsZero() || !limit.IsZero()
			guaranteed = guaranteed && !limit.IsZero() && request.Cmp(limit) == 0
		}
	}
	switch {
	case !sized:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}
