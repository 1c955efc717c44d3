package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/transport"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/credentials"
	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// requestTries and requestDelay apply to requests that may be repeated.
const (
	requestTries = 4
	requestDelay = 200 * time.Millisecond
)

// KubeClient returns a client of the cluster with its own rate limit. userAgent is the name of the program. All
// requests pass the wrappers. KubeClient reads files and does not connect.
func (c *Config) KubeClient(userAgent string, wrap ...transport.WrapperFunc) (*kubernetes.Clientset, error) {
	rest, err := c.Kube.REST(userAgent)
	if err != nil {
		return nil, err
	}
	for _, wrapper := range wrap {
		rest.Wrap(wrapper)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("creating the client of the cluster: %w", err)
	}
	return client, nil
}

// NodeClient returns a client with its own rate limit that acts as the virtual node, if Identity says so. NodeClient
// reads files and does not connect.
func (c *Config) NodeClient(userAgent, name string, wrap ...transport.WrapperFunc) (*kubernetes.Clientset, error) {
	if c.Identity != IdentityNode {
		return c.KubeClient(userAgent, wrap...)
	}
	rest, err := c.Kube.REST(userAgent)
	if err != nil {
		return nil, err
	}
	rest.Impersonate = nodeuser.Impersonation(name)
	for _, wrapper := range wrap {
		rest.Wrap(wrapper)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("creating the client of node %s: %w", name, err)
	}
	return client, nil
}

// Cluster returns what the search for orphans reads from the cluster. client reads Nodes. Cluster does not connect.
func (c *Config) Cluster(
	userAgent string, client kubernetes.Interface, wrap ...transport.WrapperFunc,
) orphans.APIServer {
	cluster := orphans.APIServer{Client: client.CoreV1()}
	if c.Identity == IdentityNode {
		cluster.As = func(node string) (corev1client.CoreV1Interface, error) {
			client, err := c.NodeClient(userAgent, node, wrap...)
			if err != nil {
				return nil, err
			}
			return client.CoreV1(), nil
		}
	}
	return cluster
}

// CloudClient returns a client of the cloud. observers holds what the configuration does not: the logger, the metrics
// and the callbacks, and the source of the keys if it is not to be that of CloudCredentials.
func (c *Config) CloudClient(observers cci.Config) (*cci.Client, error) {
	client := observers
	if client.Credentials == nil {
		keys, err := c.CCI.credentials(observers.Logger)
		if err != nil {
			return nil, err
		}
		client.Credentials = keys
	}
	client.Version = c.Policy.CCIVersion
	client.Endpoint, client.ProjectID = c.CCI.ServiceEndpoint(), c.CCI.ProjectID
	client.AllowHTTP = c.CCI.AllowHTTP
	client.QPS, client.MaxQPS, client.Burst = c.CCI.QPS, c.CCI.MaxQPS, c.CCI.Burst
	client.RequestTimeout = c.CCI.RequestTimeout.Duration
	client.Tries, client.RetryDelay = requestTries, requestDelay
	client.Addresses = c.addresses()
	client.Exec = cci.ExecConfig{
		Handshake: c.CCI.Exec.Handshake, IAMEndpoint: c.CCI.TokenEndpoint(), KeepAlive: c.CCI.Exec.KeepAlive.Duration,
	}
	return cci.New(client)
}

// CloudCredentials returns the source of the keys that CloudClient signs with.
func (c *Config) CloudCredentials(logger *slog.Logger) (*credentials.Source, error) {
	return c.CCI.credentials(logger)
}

// addresses returns the addresses that cloud Pods may have. The configuration must be valid.
func (c *Config) addresses() cci.Addresses {
	var addresses cci.Addresses
	ranges := c.CCI.PodCIDRs
	if len(ranges) == 0 && c.CCI.Network1.CIDR != "" {
		ranges = []string{c.CCI.Network1.CIDR}
	}
	for _, cidr := range ranges {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			addresses.Ranges = append(addresses.Ranges, prefix.Masked())
		}
	}
	addresses.Node, _ = netip.ParseAddr(c.Node.IP) // "vnode gc" has no node.
	return addresses
}

// credentials returns the keys that sign requests. They are renewed when their source changes.
func (c CCIConfig) credentials(logger *slog.Logger) (*credentials.Source, error) {
	switch c.CredentialsFrom {
	case fromMachine:
		return credentials.FromMachine(logger)
	case fromPodIdentity:
		return credentials.FromPodIdentity(logger)
	}
	return credentials.FromFile(c.CredentialsFile, logger)
}
