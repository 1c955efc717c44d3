package ccisim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	podFinalizer = "billing.kubernetes.io/podbilling-finalizer"

	annotationTenant    = "tenant.cci.io/tenant-id"
	annotationMonitor   = "openvessel.io/monitoring-aominfo"
	annotationNetStatus = "cni.yangtse.io/network-status"
	annotationVMNetwork = "networking.cci.io/vm-network-info"
	annotationGroupName = "scheduling.k8s.io/group-name"
	labelProject        = "tenant.kubernetes.io/project-id"
	labelDomain         = "tenant.kubernetes.io/domain-id"
	labelEnterprise     = "sys_enterprise_project_id"
	labelVM             = "scheduling.cci.io/vmid"

	schedulerName = "volcano"
)

// serverAnnotations and serverLabels stay whatever a caller writes.
var (
	serverAnnotations = []string{annotationSize, annotationTenant, annotationMonitor, annotationNetStatus, annotationVMNetwork,
		annotationGroupName, corev1.LabelTopologyRegion, corev1.LabelTopologyZone}
	serverLabels = []string{labelEnterprise, labelProject, labelDomain, annotationTenant, labelVM}
)

// podStrategy: see podadmission.go for what is taken and podlife.go for what happens then.
type podStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (podStrategy) empty() object          { return &Pod{} }
func (p podStrategy) createFields() fields { return p.forCreate }
func (p podStrategy) updateFields() fields { return p.forUpdate }

func (podStrategy) prepare(s *Sim, caller *Credential, obj object) *apiError {
	pod := obj.(*Pod)
	s.dropForeignAffinity(pod)
	setPodDefaults(pod)
	if refusal := admitPod(s, pod); refusal != nil {
		return refusal
	}
	size, err := billedSize(pod)
	if err != nil {
		return forbidden(pods, pod.Name, "%s", err)
	}
	setAnnotation(&pod.ObjectMeta, annotationSize, size.String())
	completePod(pod, caller)
	return nil
}

// completePod writes what the service writes onto every new Pod.
func completePod(pod *Pod, caller *Credential) {
	pod.Finalizers = []string{podFinalizer}
	setAnnotation(&pod.ObjectMeta, annotationTenant, caller.ProjectID)
	setAnnotation(&pod.ObjectMeta, annotationMonitor, fmt.Sprintf("%s:%s", caller.ProjectID, pod.UID))
	setLabel(&pod.ObjectMeta, labelEnterprise, "0")
	setLabel(&pod.ObjectMeta, labelProject, caller.ProjectID)
	setLabel(&pod.ObjectMeta, labelDomain, caller.DomainID)
	setLabel(&pod.ObjectMeta, annotationTenant, caller.ProjectID)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
}

// prepareUpdate lets only the fields change that the vendor lists for PATCH; the server's own labels and annotations stay.
func (podStrategy) prepareUpdate(_ *Sim, old, next object) *apiError {
	was, will := old.(*Pod), next.(*Pod)
	will.Status = *was.Status.DeepCopy()
	for _, name := range serverAnnotations {
		if value, ok := was.Annotations[name]; ok {
			setAnnotation(&will.ObjectMeta, name, value)
		}
	}
	for _, name := range serverLabels {
		if value, ok := was.Labels[name]; ok {
			setLabel(&will.ObjectMeta, name, value)
		}
	}
	setPodDefaults(will)
	if errs := validateImages(will); len(errs) > 0 {
		return invalid(pods, will.Name, errs)
	}
	return checkPodChange(was, will)
}

func checkPodChange(was, will *Pod) *apiError {
	allowed := was.deepCopy()
	allowed.Spec.Tolerations = will.Spec.Tolerations
	allowed.Spec.ActiveDeadlineSeconds = will.Spec.ActiveDeadlineSeconds
	copyImages(allowed.Spec.Containers, will.Spec.Containers)
	copyImages(allowed.Spec.InitContainers, will.Spec.InitContainers)
	if apiequality.Semantic.DeepEqual(allowed.Spec, will.Spec) {
		return nil
	}
	return invalid(pods, will.Name, field.ErrorList{field.Forbidden(field.NewPath("spec"), "pod updates may not change fields other than "+
		"`spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations`")})
}

func copyImages(to, from []corev1.Container) {
	for i := range to {
		if i < len(from) {
			to[i].Image = from[i].Image
		}
	}
}

// finalize starts the end of a Pod. A later call may shorten the grace, never lengthen it.
func (podStrategy) finalize(s *Sim, obj object, options *metav1.DeleteOptions) object {
	next := obj.(*Pod).deepCopy()
	grace := int64(30)
	if next.Spec.TerminationGracePeriodSeconds != nil {
		grace = *next.Spec.TerminationGracePeriodSeconds
	}
	if options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	end := metav1.NewTime(s.now().Add(seconds(grace)))
	if next.DeletionTimestamp != nil && !end.Before(next.DeletionTimestamp) {
		return next
	}
	next.DeletionTimestamp = &end
	next.DeletionGracePeriodSeconds = &grace
	return next
}

// qosClass is Kubernetes' class of service.
func qosClass(pod *Pod) corev1.PodQOSClass {
	guaranteed, sized := true, false
	for _, c := range allContainers(pod) {
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

// allContainers is init containers first, then the others.
func allContainers(pod *Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}
