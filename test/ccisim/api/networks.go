package api

import (
	"net/http"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	networkType      = "underlay_neutron"
	networkFinalizer = "yangtse.io/network-cleanup"

	annotationYangtseProject = "yangtse.io/project-id"
	annotationYangtseDomain  = "yangtse.io/domain-id"
)

// networkAdmission admits networks of CCI 2.0.
type networkAdmission struct{}

func (networkAdmission) prepare(s *Server, _ *Credential, obj objects.Object) *apiError {
	network := obj.(*objects.Network)
	if refusal := checkNetwork(s, network); refusal != nil {
		return refusal
	}
	network.Finalizers = []string{networkFinalizer}
	network.Status = objects.NetworkStatus{Status: objects.NetworkPending}
	return nil
}

func checkNetwork(s *Server, network *objects.Network) *apiError {
	spec := network.Spec
	if spec.NetworkType != networkType {
		return forbidden(objects.Networks, network.Name,
			"networkType %q is not supported, it should be %q", spec.NetworkType, networkType)
	}
	if len(spec.SecurityGroups) == 0 {
		return codedError(http.StatusBadRequest, codeBadBody, "securitygroup can not be empty")
	}
	var errs field.ErrorList
	subnets := field.NewPath("spec", "subnets")
	if len(spec.Subnets) == 0 {
		errs = append(errs, field.Required(subnets, "at least one subnet"))
	}
	for i, subnet := range spec.Subnets {
		if subnet.SubnetID == "" {
			errs = append(errs, field.Required(subnets.Index(i).Child("subnetID"), "the Neutron subnet's id"))
		}
	}
	for i, family := range spec.IPFamilies {
		if family != "IPv4" && family != "IPv6" {
			path := field.NewPath("spec", "ipFamilies").Index(i)
			errs = append(errs, field.NotSupported(path, family, []string{"IPv4", "IPv6"}))
		}
	}
	if s.cfg.Faults.Policies().RequireNetworkAnnotations {
		for _, name := range []string{annotationYangtseProject, annotationYangtseDomain} {
			if network.Annotations[name] == "" {
				errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(name), ""))
			}
		}
	}
	if len(errs) > 0 {
		return invalid(objects.Networks, network.Name, errs)
	}
	return nil
}

// admit refuses a second network on the same subnet in a namespace.
func (networkAdmission) admit(v store.View, obj objects.Object) *apiError {
	network := obj.(*objects.Network)
	for _, e := range v.Sorted(objects.Networks, network.Namespace) {
		for _, used := range e.Object.(*objects.Network).Spec.Subnets {
			if slices.Contains(network.Spec.Subnets, used) {
				return forbidden(objects.Networks, network.Name,
					"subnetID %s is not allowed to be duplicated: network %s has it", used.SubnetID, e.Object.GetName())
			}
		}
	}
	return nil
}

func (networkAdmission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.CopyObject().(*objects.Network), next.(*objects.Network)
	will.Status = was.Status
	was.Spec.SecurityGroups = will.Spec.SecurityGroups
	if len(will.Spec.SecurityGroups) == 0 {
		return codedError(http.StatusBadRequest, codeBadBody, "securitygroup can not be empty")
	}
	if !apiequality.Semantic.DeepEqual(was.Spec, will.Spec) {
		return invalid(objects.Networks, will.Name,
			field.ErrorList{field.Forbidden(field.NewPath("spec"), "only securityGroups may change")})
	}
	return nil
}
