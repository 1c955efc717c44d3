package ccisim

import (
	"net/http"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	annotationNamespaceFlavor = "namespace.kubernetes.io/flavor"
	// annotationFlavorHyphens is a spelling that the service takes too, and answers with the other beside it.
	annotationFlavorHyphens = "namespace-kubernetes-io/flavor"
	annotationSecurityGroup = "network.alpha.kubernetes.io/default-security-group"

	networkInitializing = "Initializing"
	networkActive       = "Active"
)

// Network1 is CCI 1.0's network: one subnet, and the security group in an annotation.
type Network1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Network1Spec   `json:"spec"`
	Status            Network1Status `json:"status,omitzero"`
}

// Network1Spec names the subnet by Neutron's ids.
type Network1Spec struct {
	NetworkType   string `json:"networkType,omitempty"`
	AttachedVPC   string `json:"attachedVPC,omitempty"`
	NetworkID     string `json:"networkID,omitempty"`
	SubnetID      string `json:"subnetID,omitempty"`
	AvailableZone string `json:"availableZone,omitempty"`
	CIDR          string `json:"cidr,omitempty"`
}

// Network1Status is Initializing, Pending, Active or Failed.
type Network1Status struct {
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
}

func (n *Network1) copyObject() object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	return &out
}

func (n *Network1) setType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (n *Network1) meta() *metav1.ObjectMeta { return &n.ObjectMeta }

func (n *Network1) state() (state string, ready bool) {
	return n.Status.State, n.Status.State == networkActive
}

// namespace1Strategy wants to know what Pods will need.
type namespace1Strategy struct{ namespaceStrategy }

func (n namespace1Strategy) prepare(s *Sim, caller *Credential, obj object) *apiError {
	ns := obj.(*Namespace)
	if hyphens := ns.Annotations[annotationFlavorHyphens]; hyphens != "" && ns.Annotations[annotationNamespaceFlavor] == "" {
		ns.Annotations[annotationNamespaceFlavor] = hyphens
	}
	switch flavor := ns.Annotations[annotationNamespaceFlavor]; flavor {
	case "general-computing", "gpu-accelerated":
		return n.namespaceStrategy.prepare(s, caller, obj)
	default:
		return badRequest(codeBadBody, "annotation %s %q is not supported: general-computing or gpu-accelerated", annotationNamespaceFlavor, flavor)
	}
}

// network1Strategy: Initializing, Pending, then Active after a delay.
type network1Strategy struct {
	plain
	forCreate, forUpdate fields
}

func (network1Strategy) empty() object          { return &Network1{} }
func (n network1Strategy) createFields() fields { return n.forCreate }
func (n network1Strategy) updateFields() fields { return n.forUpdate }

func (network1Strategy) prepare(_ *Sim, _ *Credential, obj object) *apiError {
	network := obj.(*Network1)
	if network.Spec.NetworkType != networkType {
		return forbidden(networks, network.Name, "networkType %q is not supported, it should be %q", network.Spec.NetworkType, networkType)
	}
	if network.Annotations[annotationSecurityGroup] == "" {
		return codedError(http.StatusBadRequest, codeBadBody, "securitygroup can not be empty")
	}
	var errs field.ErrorList
	for name, value := range map[string]string{
		"attachedVPC": network.Spec.AttachedVPC, "networkID": network.Spec.NetworkID, "subnetID": network.Spec.SubnetID,
	} {
		if value == "" {
			errs = append(errs, field.Required(field.NewPath("spec", name), ""))
		}
	}
	if len(errs) > 0 {
		return invalid(networks, network.Name, errs)
	}
	network.Finalizers = []string{networkFinalizer}
	network.Status = Network1Status{State: networkInitializing}
	return nil
}

// admit: a namespace has one network.
func (network1Strategy) admit(s *Sim, obj object) *apiError {
	for _, e := range s.store.tables[networks].sorted(obj.GetNamespace()) {
		return forbidden(networks, obj.GetName(), "namespace %s has network %s already", obj.GetNamespace(), e.obj.GetName())
	}
	return nil
}

func (network1Strategy) prepareUpdate(_ *Sim, old, next object) *apiError {
	was, will := old.(*Network1), next.(*Network1)
	will.Status = was.Status
	if !apiequality.Semantic.DeepEqual(was.Spec, will.Spec) {
		return invalid(networks, will.Name, field.ErrorList{field.Forbidden(field.NewPath("spec"), "field is immutable")})
	}
	return nil
}

func (network1Strategy) finalize(s *Sim, obj object, _ *metav1.DeleteOptions) object {
	next := obj.copyObject().(*Network1)
	if next.DeletionTimestamp == nil {
		now := metav1.NewTime(s.now())
		next.DeletionTimestamp = &now
		next.Status.State = "Terminating"
	}
	return next
}

func (network1Strategy) advance(s *Sim, obj object) step {
	network := obj.(*Network1)
	if network.DeletionTimestamp != nil {
		return s.advanceNetworkEnd(network)
	}
	next := network.copyObject().(*Network1)
	if ready := network.CreationTimestamp.Add(s.cfg.NetworkDelay); s.now().Before(ready) {
		if network.Status.State == networkPending {
			return step{at: ready}
		}
		next.Status.State = networkPending
		return step{next: next, at: ready}
	}
	next.Status = Network1Status{State: networkActive}
	path := s.objectPath(networks, keyOf(network))
	switch {
	case s.faults.applies(NetworkFailed, path):
		next.Status = Network1Status{State: networkFailed, Message: "a subnet or a security group was not found"}
	case s.addresses.free() == 0 || s.faults.applies(IPInsufficient, path):
		next.Status = Network1Status{State: networkIPInsufficient}
	}
	if next.Status == network.Status {
		return step{}
	}
	if next.Status.State == networkActive {
		s.pokeHeld()
	}
	return step{next: next}
}

func network1Fields(meta fields) fields {
	return topFields(meta, fields{"spec": group(names("networkType", "attachedVPC", "networkID", "subnetID", "availableZone", "cidr"))})
}
