package api

import (
	"slices"
	"strconv"

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
	annotationWarmPoolSize   = "yangtse.io/warm-pool-size"
	annotationWarmRecycle    = "yangtse.io/warm-pool-recycle-interval"
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
	// No security group is accepted, and means none. A group with an empty name means that nothing is allowed. Source: the
	// schema's text of NetworkSpec.
	errs := append(checkSubnets(spec.Subnets), checkWarmPool(network.Annotations)...)
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

// checkWarmPool checks the addresses that a network keeps ready, and the hours that they are kept. What the service
// does with something else is not known. The most severe answer is a refusal.
func checkWarmPool(annotations map[string]string) field.ErrorList {
	var errs field.ErrorList
	for _, name := range []string{annotationWarmPoolSize, annotationWarmRecycle} {
		text, found := annotations[name]
		if number, err := strconv.Atoi(text); found && (err != nil || number < 0) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(name), text,
				"must be a number of 0 or more"))
		}
	}
	return errs
}

func checkSubnets(list []objects.NetworkSubnet) field.ErrorList {
	path := field.NewPath("spec", "subnets")
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "at least one subnet")}
	}
	var errs field.ErrorList
	for i, subnet := range list {
		switch {
		case subnet.SubnetID == "":
			errs = append(errs, field.Required(path.Index(i).Child("subnetID"), "the Neutron subnet's id"))
		case slices.Contains(list[:i], subnet):
			errs = append(errs, field.Duplicate(path.Index(i).Child("subnetID"), subnet.SubnetID))
		}
	}
	return errs
}

// admit refuses a second network on the same subnet in a namespace.
func (networkAdmission) admit(v store.View, obj objects.Object) *apiError {
	network := obj.(*objects.Network)
	for _, e := range v.Sorted(objects.Networks, network.Namespace) {
		if e.Object.GetName() == network.Name {
			continue // An update of the network itself.
		}
		for _, used := range e.Object.(*objects.Network).Spec.Subnets {
			if slices.Contains(network.Spec.Subnets, used) {
				return forbidden(objects.Networks, network.Name,
					"subnetID %s is not allowed to be duplicated: network %s has it", used.SubnetID, e.Object.GetName())
			}
		}
	}
	return nil
}

// prepareUpdate lets annotations and the security groups change, and subnets be added. Source: the reference page of
// the update, and updates that the provider of OTC has made. No removal of a subnet is known.
func (networkAdmission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.CopyObject().(*objects.Network), next.(*objects.Network)
	will.Status = was.Status
	if errs := append(checkSubnets(will.Spec.Subnets), checkWarmPool(will.Annotations)...); len(errs) > 0 {
		return invalid(objects.Networks, will.Name, errs)
	}
	for _, subnet := range was.Spec.Subnets {
		if !slices.Contains(will.Spec.Subnets, subnet) {
			return invalid(objects.Networks, will.Name, field.ErrorList{field.Forbidden(
				field.NewPath("spec", "subnets"), "subnet "+subnet.SubnetID+" may not be removed")})
		}
	}
	was.Spec.SecurityGroups, was.Spec.Subnets = will.Spec.SecurityGroups, will.Spec.Subnets
	if !apiequality.Semantic.DeepEqual(was.Spec, will.Spec) {
		return invalid(objects.Networks, will.Name,
			field.ErrorList{field.Forbidden(field.NewPath("spec"), "only securityGroups and subnets may change")})
	}
	return nil
}
