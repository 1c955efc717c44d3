package machine

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
)

// proxyUser is the user name of kube-proxy. Kubernetes binds this name to a role.
const proxyUser = "system:kube-proxy"

// startProxy starts one kube-proxy for all nodes: they share a network namespace, and so one set of rules.
func (m *Machine) startProxy(ctx context.Context) error {
	config := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %q}
clusterCIDR: %s
conntrack: {maxPerCore: 0, min: 0}
healthzBindAddress: %s
metricsBindAddress: %s
`, m.UserKubeconfig(proxyUser), PodNetwork, net.JoinHostPort(ControlAddress, "10256"),
		net.JoinHostPort(ControlAddress, "10249"))
	file := filepath.Join(m.config.Dir, "kube-proxy.yaml")
	if err := writeFile(file, config); err != nil {
		return err
	}
	var err error
	m.proxy, err = start(ctx, m.config.Dir, "kube-proxy", filepath.Join(m.config.PartsDir, "kube-proxy"),
		"--config", file, "--hostname-override", m.nodes[0].name)
	return err
}
