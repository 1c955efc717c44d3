package translate

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// maxNameservers is the number of name servers of a dnsConfig. Source: Kubernetes v1.36,
// pkg/apis/core/validation/validation.go.
const maxNameservers = 3

// maxSearches2 and maxSearches1 are the numbers of search domains of CCI 2.0 and 1.0. Kubernetes allows 32. What CCI
// does with more is not known: a Pod that it refuses would be worse than a short name that does not resolve. Source:
// CCI API, "PodDNSConfig" (2.0: three, unless a feature gate of the service allows 32); CCI manual cci_01_0156 (1.0:
// six).
const maxSearches2, maxSearches1 = 3, 6

// dns returns the DNS policy and configuration of the cloud Pod.
func (b *builder) dns(nodeDNS *corev1.PodDNSConfig) (corev1.DNSPolicy, *corev1.PodDNSConfig) {
	dnsPolicy, config := b.chooseDNS(nodeDNS)
	limit := maxSearches2
	if b.translator.config.Version == policy.CCI1 {
		limit = maxSearches1
	}
	if config == nil || len(config.Searches) <= limit {
		return dnsPolicy, config
	}
	config = config.DeepCopy()
	var left []string
	// After its two others, the domain of the cluster only completes names that end in .svc, which are rare. A domain of
	// the Pod is needed. Otherwise the order of the Pod says what it needs.
	cluster := b.clusterSearches()
	if last := len(cluster) - 1; last >= 0 && slices.Equal(config.Searches[:len(cluster)], cluster) {
		left = append(left, cluster[last])
		config.Searches = slices.Delete(config.Searches, last, last+1)
	}
	if len(config.Searches) > limit {
		left = append(left, config.Searches[limit:]...)
		config.Searches = config.Searches[:limit]
	}
	b.warn("search domains are left out, because CCI documents no more than %d: %s", limit, strings.Join(left, ", "))
	return dnsPolicy, config
}

// loopback is the address of the name server in the sidecar of mode proxy.
const loopback = "127.0.0.1"

// chooseDNS returns the DNS policy and configuration without the limits of the cloud. In mode proxy the Pod asks its
// sidecar, which asks the name servers that the Pod would have had.
func (b *builder) chooseDNS(nodeDNS *corev1.PodDNSConfig) (corev1.DNSPolicy, *corev1.PodDNSConfig) {
	if b.mode != policy.ServicesProxy {
		return b.usualDNS(nodeDNS, b.translator.config.ClusterDNS)
	}
	servers := b.translator.config.nameservers()
	dnsPolicy, config := b.usualDNS(nodeDNS, servers)
	if dnsPolicy == corev1.DNSDefault { // The servers that the cloud would choose are not known here.
		config = b.merge(&corev1.PodDNSConfig{Nameservers: servers}, config)
	}
	config = config.DeepCopy()
	// The sidecar must not ask itself.
	b.nameservers = slices.DeleteFunc(config.Nameservers, func(server string) bool { return server == loopback })
	config.Nameservers = []string{loopback}
	return corev1.DNSNone, config
}

// usualDNS returns the DNS policy and configuration without a sidecar. CCI supports Default and None only. The
// configuration of the cluster DNS is therefore written to the Pod. nodeDNS replaces everything if it is set. servers
// are those of the cluster.
func (b *builder) usualDNS(
	nodeDNS *corev1.PodDNSConfig, servers []string,
) (corev1.DNSPolicy, *corev1.PodDNSConfig) {
	if nodeDNS != nil {
		return corev1.DNSNone, nodeDNS.DeepCopy()
	}
	switch b.spec.DNSPolicy {
	case corev1.DNSNone, corev1.DNSDefault:
		return b.spec.DNSPolicy, b.spec.DNSConfig
	}
	if len(servers) == 0 {
		return corev1.DNSDefault, b.spec.DNSConfig
	}
	return corev1.DNSNone, b.merge(&corev1.PodDNSConfig{
		Nameservers: servers,
		Searches:    b.clusterSearches(),
		Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("5")}},
	}, b.spec.DNSConfig)
}

func (b *builder) clusterSearches() []string {
	domain := b.translator.config.ClusterDomain
	if domain == "" {
		return nil
	}
	return []string{b.pod.Namespace + ".svc." + domain, "svc." + domain, domain}
}

// merge adds the Pod's dnsConfig as the kubelet does: name servers and search domains come after those of the cluster,
// options replace those of the cluster. Source: Kubernetes v1.36, pkg/kubelet/network/dns/dns.go.
func (b *builder) merge(base, own *corev1.PodDNSConfig) *corev1.PodDNSConfig {
	merged := base.DeepCopy()
	if own != nil {
		merged.Nameservers = union(merged.Nameservers, own.Nameservers)
		merged.Searches = union(merged.Searches, own.Searches)
		merged.Options = lastOfEach(append(merged.Options, own.Options...))
	}
	if len(merged.Nameservers) > maxNameservers {
		b.warn("name servers after the third are ignored: %s", strings.Join(merged.Nameservers[maxNameservers:], ", "))
		merged.Nameservers = merged.Nameservers[:maxNameservers]
	}
	return merged
}

// lastOfEach returns the last option of each name.
func lastOfEach(options []corev1.PodDNSConfigOption) []corev1.PodDNSConfigOption {
	last := map[string]int{}
	for i, option := range options {
		last[option.Name] = i
	}
	var kept []corev1.PodDNSConfigOption
	for i, option := range options {
		if last[option.Name] == i {
			kept = append(kept, option)
		}
	}
	return kept
}

func union(first, second []string) []string {
	all := slices.Clone(first)
	for _, s := range second {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// ParseResolvConf parses the text of a resolv.conf, such as the Node annotation policy.ResolvConfAnnotation. It
// returns all errors. An unknown line is an error, because it would have no effect.
func ParseResolvConf(text string) (*corev1.PodDNSConfig, error) {
	config := &corev1.PodDNSConfig{}
	var errs []error
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], ";") {
			continue
		}
		if err := readResolvLine(config, fields[0], fields[1:]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(config.Nameservers) == 0 || len(config.Nameservers) > maxNameservers {
		errs = append(errs, fmt.Errorf("%d lines \"nameserver ADDRESS\": there must be one to %d",
			len(config.Nameservers), maxNameservers))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("parsing the resolv.conf: %w", err)
	}
	return config, nil
}

func readResolvLine(config *corev1.PodDNSConfig, keyword string, values []string) error {
	switch keyword {
	case "nameserver":
		if len(values) != 1 || net.ParseIP(values[0]) == nil {
			return fmt.Errorf("nameserver: invalid value %q: must be one IP address", strings.Join(values, " "))
		}
		config.Nameservers = append(config.Nameservers, values[0])
	case "search", "domain":
		config.Searches = values
	case "options":
		for _, option := range values {
			name, value, has := strings.Cut(option, ":")
			o := corev1.PodDNSConfigOption{Name: name}
			if has {
				o.Value = &value
			}
			config.Options = append(config.Options, o)
		}
	default:
		return fmt.Errorf("invalid line %q: must be nameserver, search or options", keyword)
	}
	return nil
}
