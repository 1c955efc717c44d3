package main

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

// run works until ctx ends or a part fails. Cloud Pods and the Node are left as they are.
func (v *vnode) run(ctx context.Context) error {
	v.recorders.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: v.events.CoreV1().Events("")})
	defer v.recorders.Shutdown()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve.Server{Address: v.config.HealthListen, Handler: v.health()}.Run(ctx) })
	group.Go(func() error {
		return v.leader.Run(ctx, func(leading context.Context) error {
			if err := v.tend(leading); err != nil || ctx.Err() != nil {
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
func (v *vnode) tend(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.node.Watch(ctx) })
	group.Go(func() error { return v.auth.Run(ctx) })
	group.Go(func() error { return v.kubeletPort().Run(ctx) })
	if v.certificate != nil {
		group.Go(func() error { return v.certificate.Run(ctx) })
	}
	group.Go(func() error {
		return v.trouble.Run(ctx, v.config.Node.Name, v.events.CoreV1().Nodes(), nodeLook, v.logger)
	})
	group.Go(func() error { return v.runNode(ctx, group) })
	return group.Wait()
}

// kubeletPort is the server of the kubelet port.
func (v *vnode) kubeletPort() serve.Server {
	server := serve.Server{
		Address: v.config.Listen, Handler: v.kubelet, CertFile: v.config.TLSCertFile, KeyFile: v.config.TLSPrivateKeyFile,
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}, Streaming: true,
	}
	switch {
	case v.certificate != nil:
		server.GetCertificate = v.certificate.Get
	case v.selfSigned != nil:
		server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return v.selfSigned, nil }
	}
	return server
}

// runNode prepares the place in the cloud and keeps the node. A new Node is registered when it can take Pods: what stands against that, and
// only an operator can mend, ends the program. One that the cluster has already is kept at once, and whatever stands against its place, lest
// its Pods be taken for lost.
func (v *vnode) runNode(ctx context.Context, group *errgroup.Group) error {
	exists, err := v.node.Exists(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	if exists {
		v.keep(ctx, group)
	}
	c := v.config.CCI
	err = cloudnamespace.Ensure(ctx, v.cloud, cloudnamespace.Config{
		Namespace: c.Namespace, Subnets: c.SubnetIDs, SecurityGroups: c.SecurityGroupIDs, ProjectID: c.ProjectID, DomainID: c.DomainID,
		VPCID: c.Network1.VPCID, NetworkID: c.Network1.NetworkID, AvailabilityZone: c.Network1.AvailabilityZone, CIDR: c.Network1.CIDR,
		ClusterID: v.config.ClusterID, Poll: placePoll, Insist: exists, Report: v.notePlace,
	}, v.logger)
	if err != nil {
		return ended(ctx, err)
	}
	if !exists {
		v.keep(ctx, group)
	}
	return nil
}

// keep keeps the Node alive and tends its Pods.
func (v *vnode) keep(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return v.node.Run(ctx) })
	v.factory.StartWithContext(ctx)
	group.Go(func() error { return v.inventory.Run(ctx) })
	group.Go(func() error { return v.mirrors.Run(ctx) })
	group.Go(func() error { return v.provider.Run(ctx) })
	group.Go(func() error { return v.soldOut.Run(ctx) })
	group.Go(func() error { return v.orphans.Run(ctx) })
	group.Go(func() error {
		select { // Its first question is for all Pods.
		case <-ctx.Done():
			return nil
		case <-v.inventory.Synced():
			v.logger.Info("the Pods of the node are tended", "node", v.config.Node.Name, "inCloud", len(v.inventory.All()))
			return ended(ctx, v.pods.Run(ctx, v.config.Pods.Workers))
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
