package ccisim

import (
	"fmt"
	"net/http"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	networkType      = "underlay_neutron"
	networkFinalizer = "yangtse.io/network-cleanup"

	annotationYangtseProject = "yangtse.io/project-id"
	annotationYangtseDomain  = "yangtse.io/domain-id"

	networkPending        = "Pending"
	networkReady          = "Ready"
	networkFailed         = "Failed"
	networkIPInsufficient = "IPInsufficient"
)

// networkStrategy: Pending, then Ready after a delay, IPInsufficient while there are no addresses.
type networkStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (networkStrategy) empty() object          { return &Network{} }
func (n networkStrategy) createFields() fields { return n.forCreate }
func (n networkStrategy) updateFields() fields { return n.forUpdate }

func (networkStrategy) prepare(s *Sim, _ *Credential, obj object) *apiError {
	network := obj.(*Network)
	if refusal := checkNetwork(s, network); refusal != nil {
		return refusal
	}
	network.Finalizers = []string{networkFinalizer}
	network.Status = NetworkStatus{Status: networkPending}
	return nil
}

func checkNetwork(s *Sim, network *Network) *apiError {
	spec := network.Spec
	if spec.NetworkType != networkType {
		return forbidden(networks, network.Name, "networkType %q is not supported, it should be %q", spec.NetworkType, networkType)
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
			errs = append(errs, field.NotSupported(field.NewPath("spec", "ipFamilies").Index(i), family, []string{"IPv4", "IPv6"}))
		}
	}
	if s.Policies().RequireNetworkAnnotations {
		for _, name := range []string{annotationYangtseProject, annotationYangtseDomain} {
			if network.Annotations[name] == "" {
				errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(name), ""))
			}
		}
	}
	if len(errs) > 0 {
		return invalid(networks, network.Name, errs)
	}
	return nil
}

// admit refuses a second network on the same subnet in a namespace.
func (networkStrategy) admit(s *Sim, obj object) *apiError {
	network := obj.(*Network)
	for _, e := range s.store.tables[networks].sorted(network.Namespace) {
		for _, taken := range e.obj.(*Network).Spec.Subnets {
			if slices.Contains(network.Spec.Subnets, taken) {
				return forbidden(networks, network.Name, "subnetID %s is not allowed to be duplicated: network %s has it", taken.SubnetID, e.obj.GetName())
			}
		}
	}
	return nil
}

func (networkStrategy) prepareUpdate(_ *Sim, old, next object) *apiError {
	was, will := old.copyObject().(*Network), next.(*Network)
	will.Status = was.Status
	was.Spec.SecurityGroups = will.Spec.SecurityGroups
	if len(will.Spec.SecurityGroups) == 0 {
		return codedError(http.StatusBadRequest, codeBadBody, "securitygroup can not be empty")
	}
	if !apiequality.Semantic.DeepEqual(was.Spec, will.Spec) {
		return invalid(networks, will.Name, field.ErrorList{field.Forbidden(field.NewPath("spec"), "only securityGroups may change")})
	}
	return nil
}

func (networkStrategy) finalize(s *Sim, obj object, _ *metav1.DeleteOptions) object {
	next := obj.copyObject().(*Network)
	if next.DeletionTimestamp == nil {
		now := metav1.NewTime(s.now())
		next.DeletionTimestamp = &now
	}
	return next
}

func (networkStrategy) advance(s *Sim, obj object) step {
	network := obj.(*Network)
	if network.DeletionTimestamp != nil {
		return s.advanceNetworkEnd(network)
	}
	if ready := network.CreationTimestamp.Add(s.cfg.NetworkDelay); s.now().Before(ready) {
		return step{at: ready}
	}
	status, path := networkReady, s.objectPath(networks, keyOf(network))
	switch {
	case s.faults.applies(NetworkFailed, path):
		status = networkFailed
	case s.addresses.free() == 0 || s.faults.applies(IPInsufficient, path):
		status = networkIPInsufficient
	}
	if network.Status.Status == status {
		return step{}
	}
	next := network.copyObject().(*Network)
	next.Status = s.networkStatus(network, status)
	if status == networkReady {
		s.pokeHeld()
	}
	return step{next: next}
}

// advanceNetworkEnd lets a deleted network go once no Pod can hold an address of it.
func (s *Sim) advanceNetworkEnd(network object) step {
	if gone := network.GetDeletionTimestamp().Add(s.cfg.FinalizerDelay); s.now().Before(gone) {
		return step{at: gone}
	}
	if s.store.tables[pods].perNamespace[network.GetNamespace()] > 0 {
		return step{}
	}
	next := network.copyObject()
	next.SetFinalizers(nil)
	return step{next: next, gone: true}
}

func (s *Sim) networkStatus(network *Network, status string) NetworkStatus {
	now := metav1.NewTime(s.now())
	out := NetworkStatus{Status: status}
	synced := metav1.Condition{Status: metav1.ConditionTrue, Reason: "Synced", Message: "the network is synced", LastTransitionTime: now}
	if status == networkFailed {
		synced.Status, synced.Reason, synced.Message = metav1.ConditionFalse, "SyncFailed", "a subnet or a security group was not found"
	}
	for _, kind := range []string{"NetworkSynced", "NetworkExternalDependenciesSynced"} {
		synced.Type = kind
		out.Conditions = append(out.Conditions, synced)
	}
	for _, subnet := range network.Spec.Subnets {
		out.SubnetAttrs = append(out.SubnetAttrs, SubnetAttr{NetworkID: "net-of-" + subnet.SubnetID, SubnetV4ID: subnet.SubnetID})
	}
	return out
}

// network is what a Pod must know of one.
type network interface {
	object
	state() (state string, ready bool)
}

func (n *Network) state() (state string, ready bool) {
	return n.Status.Status, n.Status.Status == networkReady
}

// noNetwork says why no network of a namespace can give an address, nothing where one can. Holds mu.
func (s *Sim) noNetwork(namespace string) string {
	reason := "no network exists in the namespace"
	for _, e := range s.store.tables[networks].sorted(namespace) {
		state, ready := e.obj.(network).state()
		if ready && e.obj.GetDeletionTimestamp() == nil {
			return ""
		}
		reason = fmt.Sprintf("network %s is %s", e.obj.GetName(), state)
	}
	return reason
}

// objectPath is the API path of an object, which faults of the world are matched against.
func (s *Sim) objectPath(res *resource, k key) string {
	root := "/apis/"
	if s.isFirst && res != networks {
		root = firstAPI + "/"
	}
	return fmt.Sprintf("%s%s/namespaces/%s/%s/%s", root, s.apiVersion(res), k.namespace, res.plural, k.name)
}
