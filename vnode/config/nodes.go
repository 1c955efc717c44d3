package config

import (
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
)

// PerNode returns a configuration for each virtual node, in the order of Nodes: its section Node is complete, and Nodes
// is empty. The address of the kubelet port, the cloud namespace and the directory of the certificate are those of the
// node.
func (c *Config) PerNode() []*Config {
	if len(c.Nodes) == 0 {
		return []*Config{c}
	}
	all := make([]*Config, len(c.Nodes))
	for i, node := range c.Nodes {
		one := *c
		one.Nodes = nil
		one.Node = node.complete(c.Node)
		one.Listen = c.listenOf(i)
		one.CCI.Namespace = c.cloudNamespaceOf(node)
		if len(node.SubnetIDs) > 0 {
			one.CCI.SubnetIDs = node.SubnetIDs
		}
		if one.CCI.Network1 != (Network1Config{}) && node.Zone != "" && one.CCI.Namespace != c.CCI.Namespace {
			one.CCI.Network1.AvailabilityZone = node.Zone
		}
		if c.CertificateDir != "" {
			one.CertificateDir = filepath.Join(c.CertificateDir, node.Name)
		}
		all[i] = &one
	}
	return all
}

// CloudNamespaces returns the cloud namespaces of all virtual nodes, each once, that of the section cci first.
func (c *Config) CloudNamespaces() []string {
	names := []string{c.CCI.Namespace}
	for _, node := range c.Nodes {
		if name := c.cloudNamespaceOf(node); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (c *Config) cloudNamespaceOf(node VirtualNode) string {
	switch {
	case node.CloudNamespace != "":
		return node.CloudNamespace
	case len(node.SubnetIDs) > 0:
		return c.CCI.Namespace + "-" + node.Name
	}
	return c.CCI.Namespace
}

// listenOf returns the address of the kubelet port of the i-th node. An address that is not valid stays as it is.
func (c *Config) listenOf(i int) string {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return c.Listen
	}
	return net.JoinHostPort(host, strconv.Itoa(int(c.KubeletPort())+i))
}

// complete returns the section of a node. common is what all nodes have in common.
func (n VirtualNode) complete(common NodeConfig) NodeConfig {
	one := common
	one.Name = n.Name
	if n.Zone != "" {
		one.Zone = n.Zone
	}
	if len(n.Labels) > 0 {
		one.Labels = maps.Clone(common.Labels)
		if one.Labels == nil {
			one.Labels = map[string]string{}
		}
		maps.Copy(one.Labels, n.Labels)
	}
	if n.Taints != nil {
		one.Taints = n.Taints
	}
	if n.CPU != nil {
		one.CPU = *n.CPU
	}
	if n.Memory != nil {
		one.Memory = *n.Memory
	}
	if n.EphemeralStorage != nil {
		one.EphemeralStorage = *n.EphemeralStorage
	}
	if n.Pods != nil {
		one.Pods = *n.Pods
	}
	return one
}
