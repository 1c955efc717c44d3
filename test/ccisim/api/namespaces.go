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

func (namespaceAdmission) prepare(_ *Server, caller *Credential, obj objects.Object) *apiError {
	ns := obj.(*objects.Namespace)
	objects.SetAnnotation(&ns.ObjectMeta, annotationProjectID, caller.ProjectID)
	objects.SetAnnotation(&ns.ObjectMeta, annotationDomainID, caller.DomainID)
	ns.Status.Phase = corev1.NamespaceActive
	return nil
}
