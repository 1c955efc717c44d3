package api

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

const (
	annotationProjectID = "tenant.kubernetes.io/project-id"
	annotationDomainID  = "tenant.kubernetes.io/domain-id"
)

// namespaceAdmission admits namespaces. They are Active at once, and have no update.
type namespaceAdmission struct{ plain }

func (namespaceAdmission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	ns := obj.(*objects.Namespace)
	if s.cfg.Generation == objects.CCI2 {
		objects.SetAnnotation(&ns.ObjectMeta, objects.AnnotationTenant, caller.ProjectID)
		objects.SetLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
	}
	ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	objects.SetAnnotation(&ns.ObjectMeta, annotationProjectID, caller.ProjectID)
	objects.SetAnnotation(&ns.ObjectMeta, annotationDomainID, caller.DomainID)
	ns.Status.Phase = corev1.NamespaceActive
	return nil
}
