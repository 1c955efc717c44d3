package api

import (
	"net/http"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	annotationNamespaceFlavor = "namespace.kubernetes.io/flavor"
	// annotationFlavorHyphens is a spelling that the service also accepts. It then adds the other spelling.
	annotationFlavorHyphens = "namespace-kubernetes-io/flavor"
	annotationSecurityGroup = "network.alpha.kubernetes.io/default-security-group"
)

// namespace1Admission admits namespaces of CCI 1.0, which must name the kind of nodes that their Pods need.
type namespace1Admission struct{ namespaceAdmission }

func (n namespace1Admission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	ns := obj.(*objects.Namespace)
	hyphens := ns.Annotations[annotationFlavorHyphens]
	if hyphens != "" && ns.Annotations[annotationNamespaceFlavor] == "" {
		ns.Annotations[annotationNamespaceFlavor] = hyphens
	}
	switch flavor := ns.Annotations[annotationNamespaceFlavor]; flavor {
	case "general-computing", "gpu-accelerated":
		return n.namespaceAdmission.prepare(s, caller, obj)
	default:
		return badRequest(codeBadBody, "annotation %s %q is not supported: general-computing or gpu-accelerated",
			annotationNamespaceFlavor, flavor)
	}
}

// network1Admission admits networks of CCI 1.0.
type network1Admission struct{}

func (network1Admission) prepare(_ *Server, _ *Credential, obj objects.Object) *apiError {
	network := obj.(*objects.Network1)
	if network.Spec.NetworkType != networkType {
		return forbidden(objects.Networks, network.Name,
			"networkType %q is not supported, it should be %q", network.Spec.NetworkType, networkType)
	}
	if network.Annotations[annotationSecurityGroup] == "" {
		return codedError(http.StatusBadRequest, codeBadBody, "securitygroup can not be empty")
	}
	// The subnet may be left out: the Terraform provider of the vendor names the VPC and the network only.
	var errs field.ErrorList
	for name, value := range map[string]string{
		"attachedVPC": network.Spec.AttachedVPC, "networkID": network.Spec.NetworkID,
	} {
		if value == "" {
			errs = append(errs, field.Required(field.NewPath("spec", name), ""))
		}
	}
	if len(errs) > 0 {
		return invalid(objects.Networks, network.Name, errs)
	}
	network.Finalizers = []string{networkFinalizer}
	network.Status = objects.Network1Status{State: objects.NetworkInitializing}
	return nil
}

// admit refuses a second network in a namespace.
func (network1Admission) admit(v store.View, obj objects.Object) *apiError {
	for _, e := range v.Sorted(objects.Networks, obj.GetNamespace()) {
		if e.Object.GetName() != obj.GetName() {
			return forbidden(objects.Networks, obj.GetName(),
				"namespace %s has network %s already", obj.GetNamespace(), e.Object.GetName())
		}
	}
	return nil
}

func (network1Admission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.(*objects.Network1), next.(*objects.Network1)
	will.Status = was.Status
	if !apiequality.Semantic.DeepEqual(was.Spec, will.Spec) {
		return invalid(objects.Networks, will.Name,
			field.ErrorList{field.Forbidden(field.NewPath("spec"), "field is immutable")})
	}
	return nil
}

func network1Fields(meta fields) fields {
	return topFields(meta, fields{"spec": group(
		names("networkType", "attachedVPC", "networkID", "subnetID", "availableZone", "cidr"))})
}
