package app

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
)

// placePoll is the first time between two looks at the place in the cloud.
const placePoll = 500 * time.Millisecond

// Run works until ctx ends or a part fails. Cloud Pods and the Node are left as they are.
func (a *App) Run(ctx context.Context) error {
	a.recorders.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: a.events.CoreV1().Events("")})
	defer a.recorders.Shutdown()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve.Server{Address: a.config.HealthListen, Handler: a.health()}.Run(ctx) })
	group.Go(func() error {
		return a.leader.Run(ctx, func(leading context.Context) error {
			if err := a.tend(leading); err != nil || ctx.Err() != nil {
				return err
			}
			return errCutOff
		})
	})
	return group.Wait()
}

// errCutOff ends the program, to be started again: what tends Pods cannot begin twice.
var errCutOff = errors.New("another vnode tends the node now, or the API server does not say who does")

// tend does all that one process alone may do for the node. It returns when ctx ends.
func (a *App) tend(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.node.Watch(ctx) })
	group.Go(func() error { return a.auth.Run(ctx) })
	group.Go(func() error { return a.kubeletPort().Run(ctx) })
	if a.certificate != nil {
		group.Go(func() error { return a.certificate.Run(ctx) })
	}
	group.Go(func() error {
		return a.trouble.Run(ctx, a.config.Node.Name, a.events.CoreV1().Nodes(), nodeLook, a.logger)
	})
	group.Go(func() error { return a.runNode(ctx, group) })
	return group.Wait()
}

// kubeletPort is the server of the kubelet port.
func (a *App) kubeletPort() serve.Server {
	server := serve.Server{
		Address: a.config.Listen, Handler: a.kubelet, CertFile: a.config.TLSCertFile, KeyFile: a.config.TLSPrivateKeyFile,
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}, Streaming: true,
	}
	switch {
	case a.certificate != nil:
		server.GetCertificate = a.certificate.Get
	case a.selfSigned != nil:
		server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.selfSigned, nil }
	}
	return server
}

// runNode prepares the place in the cloud and keeps the node. A new Node is registered when it can take Pods: what stands against that, and
// only an operator can mend, ends the program. One that the cluster has already is kept at once, and whatever stands against its place, lest
// its Pods be taken for lost.
func (a *App) runNode(ctx context.Context, group *errgroup.Group) error {
	exists, err := a.node.Exists(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	if exists {
		a.keep(ctx, group)
	}
	c := a.config.CCI
	err = cloudnamespace.Ensure(ctx, a.cloud, cloudnamespace.Config{
		Namespace: c.Namespace, Subnets: c.SubnetIDs, SecurityGroups: c.SecurityGroupIDs, ProjectID: c.ProjectID, DomainID: c.DomainID,
		VPCID: c.Network1.VPCID, NetworkID: c.Network1.NetworkID, AvailabilityZone: c.Network1.AvailabilityZone, CIDR: c.Network1.CIDR,
		ClusterID: a.config.ClusterID, Poll: placePoll, Insist: exists, Report: a.notePlace,
	}, a.logger)
	if err != nil {
		return ended(ctx, err)
	}
	if !exists {
		a.keep(ctx, group)
	}
	return nil
}

// keep keeps the Node alive and tends its Pods.
func (a *App) keep(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return a.node.Run(ctx) })
	a.factory.StartWithContext(ctx)
	group.Go(func() error { return a.inventory.Run(ctx) })
	group.Go(func() error { return a.mirrors.Run(ctx) })
	group.Go(func() error { return a.provider.Run(ctx) })
	group.Go(func() error { return a.soldOut.Run(ctx) })
	group.Go(func() error { return a.orphans.Run(ctx) })
	group.Go(func() error {
		select { // Its first question is for all Pods.
		case <-ctx.Done():
			return nil
		case <-a.inventory.Synced():
			a.logger.Info("the Pods of the node are tended", "node", a.config.Node.Name, "inCloud", len(a.inventory.All()))
			return ended(ctx, a.pods.Run(ctx, a.config.Pods.Workers))
		}
	})
}

// ended drops the error of a part that was told to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
