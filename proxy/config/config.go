// Package config is the configuration of the proxy: its fields, defaults, flags and validation.
package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/logging"
)

// Config is the configuration of the proxy. vnode sets it for each Pod, with flags.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Each context is the address of a server of Services, and the current
	// one is tried first. It is read again when a server does not answer. Default
	// /var/run/secrets/spillway.io/services/kubeconfig.
	Kubeconfig string `json:"kubeconfig"`
	// ServerService is the Service, as namespace/name, whose endpoints are further servers. They are tried after those of
	// the kubeconfig, with the credentials of its current context. Default empty: there are no others.
	ServerService string `json:"serverService"`
	// Node is the name of the node of the Pod. Services with internalTrafficPolicy Local have only the endpoints of this
	// node, and hints for nodes are followed. Default empty: no endpoint is on the node.
	Node string `json:"node"`
	// Zone is the zone of the node. Hints for zones are followed. Default empty: they are not.
	Zone string `json:"zone"`
	// ClusterDomain is the domain of the names of Services. Default cluster.local.
	ClusterDomain string `json:"clusterDomain"`
	// Nameservers are the addresses of the resolvers for all other names, in order of preference, with a port if it is
	// not 53. Default empty: other names are not resolved.
	Nameservers []string `json:"nameservers"`
	// ReservedPorts are the ports on which the application of the Pod listens. The proxy never listens on them. Without
	// them, the application cannot listen on the port of a Service that it has used before. Default none.
	ReservedPorts []int `json:"reservedPorts"`
	// APIServerPort is the port at which the proxy carries connections to the API server, the Service kubernetes of
	// namespace default, in place of the port of this Service: the application listens on that one. Default 0: the port
	// of the Service.
	APIServerPort int `json:"apiServerPort"`
	// DNSAddress is the address and port at which the proxy answers DNS queries. It must be a loopback address: programs
	// beyond the Pod must not use its resolvers. Default 127.0.0.1:53.
	DNSAddress string `json:"dnsAddress"`
	// MaxServices is how many Services are in use at the same time. Beyond it the one that was not resolved for the
	// longest time and has no connection gives way. Each takes about 4 KiB for each port. Default 1000.
	MaxServices int `json:"maxServices"`
	// MaxConnections is how many TCP connections are open at the same time. One more is reset. Each takes about 12 KiB
	// and two file descriptors. Default 5000.
	MaxConnections int `json:"maxConnections"`
	// MaxSessions is how many UDP clients are served at the same time. Beyond it the one that was quiet for the longest
	// time gives way. Each takes about 5 KiB and a file descriptor. Default 1000.
	MaxSessions int `json:"maxSessions"`
	// Logging is the configuration of the log.
	Logging logging.Config `json:"logging"`
}

const defaultDNSAddress = "127.0.0.1:53"

// Default returns the default configuration.
func Default() *Config {
	return &Config{
		Kubeconfig:     "/var/run/secrets/spillway.io/services/kubeconfig",
		ClusterDomain:  "cluster.local",
		DNSAddress:     defaultDNSAddress,
		MaxServices:    1000,
		MaxConnections: 5000,
		MaxSessions:    1000,
		Logging:        logging.Default(),
	}
}

// AddFlags adds a flag for each field that has one.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	text := func(value *string, name, usage string) { flags.StringVar(value, name, *value, usage) }
	text(&c.Kubeconfig, "kubeconfig",
		"kubeconfig `file`: each context is a server of Services; read again when a server does not answer")
	text(&c.ServerService, "server-service", "`namespace/name` of the Service whose endpoints are further servers")
	text(&c.Node, "node", "`name` of the node of the Pod")
	text(&c.Zone, "zone", "`zone` of the node")
	text(&c.ClusterDomain, "cluster-domain", "`domain` of the names of Services")
	flags.StringSliceVar(&c.Nameservers, "nameservers", c.Nameservers, "`addresses` of the resolvers for other names")
	flags.IntSliceVar(&c.ReservedPorts, "reserved-ports", c.ReservedPorts,
		"`ports` of the application, on which the proxy never listens")
	flags.IntVar(&c.APIServerPort, "api-server-port", c.APIServerPort,
		"`port` of the Service kubernetes of namespace default in the Pod, if not its own one")
	addDNSAddress(flags, &c.DNSAddress)
	flags.IntVar(&c.MaxServices, "max-services", c.MaxServices, "Services in use at the same time")
	flags.IntVar(&c.MaxConnections, "max-connections", c.MaxConnections, "TCP connections at the same time")
	flags.IntVar(&c.MaxSessions, "max-sessions", c.MaxSessions, "UDP clients at the same time")
	c.Logging.AddFlags(flags)
}

func addDNSAddress(flags *pflag.FlagSet, address *string) {
	flags.StringVar(address, "dns-address", *address, "loopback `address:port` at which DNS queries are answered")
}

// NameserverAddresses returns the address and port of each nameserver.
func (c *Config) NameserverAddresses() []string {
	var all []string
	for _, text := range c.Nameservers {
		if at, ok := nameserver(text); ok {
			all = append(all, at.String())
		}
	}
	return all
}

func nameserver(text string) (netip.AddrPort, bool) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(address, 53), true
	}
	at, err := netip.ParseAddrPort(text)
	return at, err == nil && at.Port() != 0
}

// Server returns the namespace and the name of ServerService, both empty if there is none.
func (c *Config) Server() (namespace, name string) {
	namespace, name, _ = strings.Cut(c.ServerService, "/")
	return namespace, name
}

// Validate reports all errors at once.
func (c *Config) Validate() error {
	var errs field.ErrorList
	invalid := func(path *field.Path, value any, detail string) {
		errs = append(errs, field.Invalid(path, value, detail))
	}
	if c.Kubeconfig == "" {
		errs = append(errs, field.Required(field.NewPath("kubeconfig"), "it has the addresses of the servers"))
	}
	namespace, name := c.Server()
	if c.ServerService != "" &&
		(len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Label(name)) > 0) {
		invalid(field.NewPath("serverService"), c.ServerService, "must be namespace/name of a Service")
	}
	if len(validation.IsDNS1123Subdomain(c.ClusterDomain)) > 0 {
		invalid(field.NewPath("clusterDomain"), c.ClusterDomain, "must be a domain such as cluster.local")
	}
	own, err := netip.ParseAddrPort(c.DNSAddress)
	if err != nil || !own.Addr().Is4() || !own.Addr().IsLoopback() || own.Port() == 0 {
		invalid(field.NewPath("dnsAddress"), c.DNSAddress, "must be a loopback address with a port, such as 127.0.0.1:53")
	}
	for i, text := range c.Nameservers {
		path := field.NewPath("nameservers").Index(i)
		switch at, ok := nameserver(text); {
		case !ok:
			invalid(path, text, "must be an address such as 10.96.0.10, or one with a port such as 10.96.0.10:53")
		case at == own:
			invalid(path, text, "must not be dnsAddress: the proxy would send queries to itself")
		}
	}
	for i, port := range c.ReservedPorts {
		if port < 1 || port > 65535 {
			invalid(field.NewPath("reservedPorts").Index(i), port, "must be a port from 1 to 65535")
		}
	}
	if slices.Contains(c.ReservedPorts, int(own.Port())) {
		invalid(field.NewPath("reservedPorts"), own.Port(),
			"must not have the port of dnsAddress: a Pod whose application listens on it cannot have the proxy")
	}
	switch {
	case c.APIServerPort < 0 || c.APIServerPort > 65535:
		invalid(field.NewPath("apiServerPort"), c.APIServerPort,
			"must be a port from 1 to 65535, or 0 for that of the Service")
	case slices.Contains(c.ReservedPorts, c.APIServerPort):
		invalid(field.NewPath("apiServerPort"), c.APIServerPort, "must not be one of reservedPorts")
	}
	for _, limit := range []struct {
		name  string
		value int
	}{{"maxServices", c.MaxServices}, {"maxConnections", c.MaxConnections}, {"maxSessions", c.MaxSessions}} {
		if limit.value < 1 {
			invalid(field.NewPath(limit.name), limit.value, "must be at least 1")
		}
	}
	return append(errs, c.Logging.Validate(field.NewPath("logging"))...).ToAggregate()
}

// Check is the configuration of "proxy check".
type Check struct {
	// DNSAddress is that of the proxy.
	DNSAddress string `json:"dnsAddress"`
}

// DefaultCheck returns the default configuration of "proxy check".
func DefaultCheck() *Check { return &Check{DNSAddress: defaultDNSAddress} }

// AddFlags adds the flag.
func (c *Check) AddFlags(flags *pflag.FlagSet) { addDNSAddress(flags, &c.DNSAddress) }

// Validate reports an address that is none.
func (c *Check) Validate() error {
	if _, err := netip.ParseAddrPort(c.DNSAddress); err != nil {
		return field.Invalid(field.NewPath("dnsAddress"), c.DNSAddress, "must be an address with a port")
	}
	return nil
}
