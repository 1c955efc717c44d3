package soldout

import (
	"context"
	"fmt"
	"slices"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// readProblem reads from the cloud whether the networks are the cause that Pods wait. It reads them only while Pods
// have waited for too long, and not more often than their events.
func (c *Controller) readProblem(ctx context.Context) error {
	anyLate := false
	for _, w := range c.waiting {
		anyLate = anyLate || c.isLate(w)
	}
	if !anyLate {
		c.problem = ""
		return nil
	}
	if now := c.config.Now(); c.problemAt.IsZero() || now.Sub(c.problemAt) >= c.readInterval() {
		networks, err := c.config.API.ListNetworks(ctx, c.config.CloudNamespace)
		if err != nil {
			c.problem = ""
			return fmt.Errorf("reading whether the networks have addresses: %w", err)
		}
		c.problem, c.problemAt = networkProblem(networks), now
	}
	return nil
}

// networkProblem returns a message that says why no Pod gets an address, empty if the networks are not the cause.
func networkProblem(networks []cci.Network) string {
	if len(networks) == 0 {
		return "the cloud namespace has no network"
	}
	is := func(status string) func(cci.Network) bool {
		return func(network cci.Network) bool { return network.Status.Status == status }
	}
	if i := slices.IndexFunc(networks, is(cci.NetworkIPInsufficient)); i >= 0 {
		return fmt.Sprintf("the subnets of network %s have no address left", networks[i].Name)
	}
	if slices.ContainsFunc(networks, is(cci.NetworkReady)) {
		return ""
	}
	return fmt.Sprintf("network %s is not Ready: its status is %q", networks[0].Name, networks[0].Status.Status)
}
