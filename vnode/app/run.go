package app

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/nodeuser"
	"github.com/spillway-k8s/spillway/vnode/services"
)

// cloudNamespacePoll is the first interval between two checks of the cloud namespace.
const cloudNamespacePoll = 500 * time.Millisecond

// Run runs the virtual node until ctx ends or a part fails. It leaves the cloud Pods and the Node as they are, and
// nothing running. It must be called once.
func (a *App) Run(ctx context.Context) error {
	defer a.Close()
	a.events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: a.clients.events.CoreV1().Events("")})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.node.Watch(ctx) })
	group.Go(func() error { return a.auth.Run(ctx) })
	group.Go(func() error { return a.kubeletPort.Run(ctx) })
	if a.certificate != nil {
		group.Go(func() error { return a.certificate.Run(ctx) })
	}
	group.Go(func() error {
		return a.conditions.Run(ctx, a.config.Node.Name, a.clients.events.CoreV1().Nodes(), nodeInterval, a.logger)
	})
	group.Go(func() error { return a.runNode(ctx, group) })
	return group.Wait()
}

// runNode prepares the cloud namespace and runs the node. A new Node is registered only when it can run Pods: an
// error that only an administrator can correct ends the program. An existing Node is kept alive at once, whatever the
// state of the cloud namespace, because otherwise the cluster would consider its Pods lost.
func (a *App) runNode(ctx context.Context, group *errgroup.Group) error {
	asNode := a.config.Identity == config.IdentityNode
	exists, err := a.node.Exists(ctx)
	if err != nil && asNode {
		err = nodeuser.Explain(a.config.Node.Name, err)
	}
	if err != nil {
		return unlessEnded(ctx, err)
	}
	if asNode {
		a.checkRestriction(ctx)
	}
	if exists {
		a.runPods(ctx, group)
	} else {
		group.Go(func() error {
			a.diagnose(ctx)
			return nil
		})
	}
	c := a.config.CCI
	err = cloudnamespace.Ensure(ctx, a.cloud, cloudnamespace.Config{
		Namespace: c.Namespace, Subnets: c.SubnetIDs, SecurityGroups: c.SecurityGroupIDs,
		WarmPool: cloudnamespace.WarmPool{
			Size: c.WarmPool.Size, RecycleInterval: c.WarmPool.RecycleInterval.Duration,
		},
		ProjectID: c.ProjectID, DomainID: c.DomainID, VPCID: c.Network1.VPCID, NetworkID: c.Network1.NetworkID,
		AvailabilityZone: c.Network1.AvailabilityZone, CIDR: c.Network1.CIDR, ClusterID: a.config.ClusterID,
		Poll: cloudNamespacePoll, RetryForever: exists, Report: a.noteCloudNamespace,
	}, a.logger)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	if !exists {
		a.runPods(ctx, group)
	}
	return nil
}

// checkRestriction warns if the API server does not restrict the virtual node to its own Node and Pods.
func (a *App) checkRestriction(ctx context.Context) {
	restricted, err := nodeuser.IsRestricted(ctx, a.clients.node.CoordinationV1(), a.config.Node.Name)
	switch {
	case err != nil && ctx.Err() == nil:
		a.logger.Warn("cannot check the admission plugin NodeRestriction", "err", err)
	case err == nil && !restricted:
		a.logger.Warn("the API server runs without the admission plugin NodeRestriction: this program's token can be " +
			"used to change other Nodes, and the status of all Pods")
	}
}

// runPods starts the parts that keep the Node alive and manage its Pods.
func (a *App) runPods(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return a.node.Run(ctx) })
	a.informers.StartWithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		a.informers.Shutdown()
		return nil
	})
	if a.config.ServesServices() {
		group.Go(func() error {
			return a.services.RunNode(ctx, services.Node{
				Name: a.config.Node.Name, Pods: a.informers.Core().V1().Pods().Informer(), Nodes: a.node.Informer(),
			})
		})
	}
	group.Go(func() error { return a.inventory.Run(ctx) })
	group.Go(func() error { return a.mirrors.Run(ctx) })
	group.Go(func() error { return a.facts.Run(ctx) })
	group.Go(func() error {
		if a.facts.WaitReady(ctx) == nil {
			a.provider.FactsChanged() // Pods wait until it is known whether they may run in the cloud.
		}
		return nil
	})
	group.Go(func() error { return a.provider.Run(ctx) })
	group.Go(func() error {
		select { // Addresses that Pods already have must not look like new ones.
		case <-ctx.Done():
			return nil
		case <-a.inventory.Synced():
			return a.soldOut.Run(ctx)
		}
	})
	group.Go(func() error { return a.orphans.Run(ctx) })
	if a.quota != nil {
		group.Go(func() error {
			select { // What this node uses itself must be known.
			case <-ctx.Done():
				return nil
			case <-a.inventory.Synced():
				return a.quota.Run(ctx)
			}
		})
	}
	if a.snapshots != nil {
		group.Go(func() error { return a.snapshots.Run(ctx) })
	}
	group.Go(func() error {
		select { // virtual-kubelet first requests all Pods, and the provider knows them only then.
		case <-ctx.Done():
			return nil
		case <-a.inventory.Synced():
			a.logger.Info("managing the pods of the node", "pods", len(a.inventory.All()))
			return unlessEnded(ctx, a.pods.Run(ctx, a.config.Pods.Workers))
		}
	})
}

// unlessEnded returns err, or nil if ctx has ended: parts that are stopped return errors then.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
