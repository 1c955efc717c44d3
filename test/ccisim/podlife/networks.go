package podlife

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// networkTerminating is a state of CCI 1.0's networks only.
const networkTerminating = "Terminating"

// reconcileNetwork makes a network Ready after a delay, and IPInsufficient while there are no addresses.
func (c *Controller) reconcileNetwork(tx store.Tx, network *objects.Network) result {
	if network.DeletionTimestamp != nil {
		return c.reconcileNetworkDeletion(tx, network)
	}
	if ready := c.readyAt(network); c.now().Before(ready) {
		return result{at: ready}
	}
	status := objects.NetworkReady
	switch {
	case c.hasFault(tx, faults.NetworkFailed, objects.Networks, network), !c.hasSubnets(network):
		status = objects.NetworkFailed
	case c.lacksAddresses(tx, network):
		status = objects.NetworkIPInsufficient
	}
	if network.Status.Status == status && len(network.Status.SubnetAttrs) == len(network.Spec.Subnets) {
		return result{}
	}
	next := network.CopyObject().(*objects.Network)
	next.Status = c.networkStatus(network, status)
	if status == objects.NetworkReady {
		c.enqueueWaiting(tx)
	}
	return result{next: next}
}

// reconcileNetwork1 takes a network of CCI 1.0 from Initializing to Pending, and to Active after a delay.
func (c *Controller) reconcileNetwork1(tx store.Tx, network *objects.Network1) result {
	if network.DeletionTimestamp != nil {
		return c.reconcileNetworkDeletion(tx, network)
	}
	next := network.CopyObject().(*objects.Network1)
	if ready := c.readyAt(network); c.now().Before(ready) {
		if network.Status.State == objects.NetworkPending {
			return result{at: ready}
		}
		next.Status.State = objects.NetworkPending
		return result{next: next, at: ready}
	}
	next.Status = objects.Network1Status{State: objects.NetworkActive}
	switch {
	case c.hasFault(tx, faults.NetworkFailed, objects.Networks, network):
		next.Status = objects.Network1Status{
			State: objects.NetworkFailed, Message: "a subnet or a security group was not found",
		}
	case c.lacksAddresses(tx, network):
		next.Status = objects.Network1Status{State: objects.NetworkIPInsufficient}
	}
	if next.Status == network.Status {
		return result{}
	}
	if next.Status.State == objects.NetworkActive {
		c.enqueueWaiting(tx)
	}
	return result{next: next}
}

func (c *Controller) readyAt(network objects.Object) time.Time {
	created := network.GetCreationTimestamp()
	return created.Add(c.cfg.NetworkDelay)
}

// hasSubnets reports whether the account has all subnets of a network, if it is known which it has.
func (c *Controller) hasSubnets(network *objects.Network) bool {
	for _, named := range network.Spec.Subnets {
		isNamed := func(subnet Subnet) bool { return subnet.NeutronID == named.SubnetID }
		if len(c.cfg.Subnets) > 0 && !slices.ContainsFunc(c.cfg.Subnets, isNamed) {
			return false
		}
	}
	return true
}

func (c *Controller) lacksAddresses(tx store.Tx, network objects.Object) bool {
	return c.addresses.areUsed(network) || c.hasFault(tx, faults.IPInsufficient, objects.Networks, network)
}

// hasFault reports whether a fault of the cloud applies to an object.
func (c *Controller) hasFault(tx store.Tx, kind faults.Kind, res *objects.Resource, obj objects.Object) bool {
	return c.cfg.Faults.Applies(kind, tx.Generation().Path(res, objects.KeyOf(obj)))
}

// reconcileNetworkDeletion removes a deleted network when no Pod can have an address of it any more.
func (c *Controller) reconcileNetworkDeletion(tx store.Tx, network objects.Object) result {
	if gone := network.GetDeletionTimestamp().Add(c.cfg.FinalizerDelay); c.now().Before(gone) {
		return result{at: gone}
	}
	if tx.Count(objects.Pods, network.GetNamespace()) > 0 {
		return result{}
	}
	next := network.CopyObject()
	next.SetFinalizers(nil)
	return result{next: next, gone: true}
}

func (c *Controller) networkStatus(network *objects.Network, status string) objects.NetworkStatus {
	out := objects.NetworkStatus{Status: status}
	synced := metav1.Condition{
		Status: metav1.ConditionTrue, Reason: "Synced", Message: "the network is synced",
		LastTransitionTime: metav1.NewTime(c.now()),
	}
	if status == objects.NetworkFailed {
		synced.Status, synced.Reason = metav1.ConditionFalse, "SyncFailed"
		synced.Message = "a subnet or a security group was not found"
	}
	for _, kind := range []string{"NetworkSynced", "NetworkExternalDependenciesSynced"} {
		synced.Type = kind
		out.Conditions = append(out.Conditions, synced)
	}
	for _, subnet := range network.Spec.Subnets {
		out.SubnetAttrs = append(out.SubnetAttrs,
			objects.SubnetAttr{NetworkID: "net-of-" + subnet.SubnetID, SubnetV4ID: subnet.SubnetID})
	}
	return out
}

// noNetwork returns why no network of a namespace can provide an address, empty if one can.
func noNetwork(tx store.Tx, namespace string) string {
	reason := "no network exists in the namespace"
	for _, e := range tx.Sorted(objects.Networks, namespace) {
		state, ready := e.Object.(objects.AnyNetwork).State()
		if ready && e.Object.GetDeletionTimestamp() == nil {
			return ""
		}
		reason = fmt.Sprintf("network %s is %s", e.Object.GetName(), state)
	}
	return reason
}
