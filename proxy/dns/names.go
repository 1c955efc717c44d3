package dns

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/spillway-k8s/spillway/proxy/addresses"
	"github.com/spillway-k8s/spillway/proxy/endpoints"
	"github.com/spillway-k8s/spillway/proxy/state"
)

// specification is the version of the specification that the names follow.
const specification = "1.1.0"

// maxAliases is how many ExternalName Services may lead to each other.
const maxAliases = 8

// none is the answer for a name that exists and has no such record, and absent the one for a name that does not exist.
func none() *answer   { return &answer{inZone: true} }
func absent() *answer { return &answer{inZone: true, rcode: dns.RcodeNameError} }

// found is the answer with records, or none.
func found(records, extra []dns.RR) *answer {
	return &answer{inZone: true, records: records, extra: extra}
}

// lookup answers a question about the cluster domain. name is that of the question in lower case. aliases is how many
// ExternalName Services have led to it.
func (s *Server) lookup(name string, question dns.Question, aliases int) *answer {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, s.zone))
	switch n := len(labels); {
	case n == 0 && question.Qtype == dns.TypeSOA:
		return found([]dns.RR{authority(s.zone)}, nil)
	case n == 0:
		return none()
	case n == 1 && labels[0] == "dns-version":
		if question.Qtype != dns.TypeTXT {
			return none()
		}
		return found([]dns.RR{&dns.TXT{Hdr: header(question.Name, dns.TypeTXT), Txt: []string{specification}}}, nil)
	case labels[n-1] == "pod":
		return s.pod(labels[:n-1], question)
	case labels[n-1] == "svc":
		return s.service(labels[:n-1], question, aliases)
	}
	return absent()
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// pod answers a question about a name below pod, such as 10-0-0-1.NAMESPACE.pod.
func (s *Server) pod(labels []string, question dns.Question) *answer {
	switch len(labels) {
	case 0, 1:
		return none()
	case 2:
		address, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", "."))
		if err == nil && address.Is4() {
			return addressRecords(question, []netip.Addr{address})
		}
		if address, err = netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ":")); err == nil && address.Is6() {
			return none()
		}
	}
	return absent()
}

// addressRecords returns A records for the name of the question, if it is about A records.
func addressRecords(question dns.Question, all []netip.Addr) *answer {
	if question.Qtype != dns.TypeA {
		return none()
	}
	var records []dns.RR
	for _, address := range all {
		records = append(records, addressRecord(question.Name, address))
	}
	// Clients use the first, and what does not fit is left out.
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return found(records, nil)
}

func addressRecord(name string, address netip.Addr) dns.RR {
	return &dns.A{Hdr: header(name, dns.TypeA), A: address.AsSlice()}
}

// service answers a question about a name below svc.
func (s *Server) service(labels []string, question dns.Question, aliases int) *answer {
	n := len(labels)
	if n == 0 || n == 1 && s.HasNamespace(labels[0]) {
		return none()
	}
	if n < 2 {
		return absent()
	}
	one := s.Service(labels[n-1], labels[n-2])
	switch {
	case one == nil || n > 4:
		return absent()
	case one.IPv6Only:
		return &answer{inZone: true, code: dns.ExtendedErrorCodeOther, reason: errIPv6}
	case one.Kind == state.ExternalName:
		if n > 2 {
			return absent()
		}
		return s.alias(one, question, aliases)
	case n == 2 && question.Qtype == dns.TypeSRV:
		return s.ports(one, "", "", question)
	case n == 2 && one.Kind == state.Headless:
		return hosts(one, "", question)
	case n == 2:
		return s.clusterIP(one, question)
	case n == 3 && strings.HasPrefix(labels[0], "_"):
		// A protocol such as _tcp has no records. It exists if there are names of ports below it.
		question.Qtype = dns.TypeNone
		return s.ports(one, "", labels[0][1:], question)
	case n == 3:
		return hosts(one, labels[0], question)
	case strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return s.ports(one, labels[0][1:], labels[1][1:], question)
	}
	return absent()
}

// clusterIP answers with the addresses of a Service of type ClusterIP.
func (s *Server) clusterIP(one *state.Service, question dns.Question) *answer {
	if question.Qtype != dns.TypeA {
		return none()
	}
	all, err := s.Addresses(one.Name)
	if err != nil {
		return failure(dns.ExtendedErrorCodeOther, err)
	}
	return addressRecords(question, all)
}

// hosts answers with the endpoints of a Service, or with those that have a host name.
func hosts(one *state.Service, name string, question dns.Question) *answer {
	seen := map[netip.Addr]bool{}
	var all []netip.Addr
	for _, host := range one.Hosts() {
		if (name == "" || host.Name == name) && !seen[host.Address] {
			seen[host.Address] = true
			all = append(all, host.Address)
		}
	}
	if len(all) == 0 {
		return absent()
	}
	return addressRecords(question, all)
}

// target is what an SRV record points at.
type target struct {
	name string
	port uint16
}

// ports answers with the SRV records of named ports. An empty name or protocol stands for all.
func (s *Server) ports(one *state.Service, name, protocol string, question dns.Question) *answer {
	wanted := func(p endpoints.Port) bool {
		return p.Name != "" && (name == "" || p.Name == name) &&
			(protocol == "" || strings.EqualFold(string(p.Protocol), protocol))
	}
	service := one.Name.Name + "." + one.Name.Namespace + ".svc." + s.zone
	var targets []target
	add := func(ports []endpoints.Port, name string) (added bool) {
		for _, port := range ports {
			if wanted(port) {
				targets, added = append(targets, target{name, port.Number}), true
			}
		}
		return added
	}
	var glue []dns.RR
	if one.Kind == state.Headless {
		for _, host := range one.Hosts() {
			if add(host.Ports, host.Name+"."+service) {
				glue = append(glue, addressRecord(host.Name+"."+service, host.Address))
			}
		}
	} else if add(one.Ports, service) && question.Qtype == dns.TypeSRV {
		all, err := s.Addresses(one.Name)
		if err != nil {
			return failure(dns.ExtendedErrorCodeOther, err)
		}
		for _, address := range all {
			glue = append(glue, addressRecord(service, address))
		}
	}
	switch {
	case len(targets) == 0:
		return absent()
	case question.Qtype != dns.TypeSRV:
		return none()
	}
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	seen := map[target]bool{}
	weight := uint16(max(1, 100/len(targets)))
	var records []dns.RR
	for _, to := range targets {
		if !seen[to] {
			seen[to] = true
			records = append(records, &dns.SRV{
				Hdr: header(question.Name, dns.TypeSRV), Weight: weight, Port: to.port, Target: to.name,
			})
		}
	}
	return found(records, glue)
}

var (
	errAliases = errors.New("more than 8 ExternalName Services lead to each other")
	errIPv6    = errors.New("the Service has IPv6 addresses only, and cloud Pods have IPv4 addresses only")
	errAlias   = errors.New("the ExternalName of the Service is not a name of DNS")
)

// alias answers for an ExternalName Service: with the other name, and with what that name has.
func (s *Server) alias(one *state.Service, question dns.Question, aliases int) *answer {
	other := dns.Fqdn(one.ExternalName)
	if _, ok := dns.IsDomainName(other); !ok {
		return failure(dns.ExtendedErrorCodeInvalidData, errAlias)
	}
	a := found([]dns.RR{&dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: other}}, nil)
	if question.Qtype == dns.TypeCNAME {
		return a
	}
	question.Name = other
	var rest *answer
	switch name := dns.CanonicalName(other); {
	case !dns.IsSubDomain(s.zone, name):
		var err error
		if rest, err = s.upstream.resolve(question); err != nil {
			return failure(dns.ExtendedErrorCodeNetworkError, err)
		}
	case aliases == maxAliases:
		return failure(dns.ExtendedErrorCodeOther, errAliases)
	default:
		rest = s.lookup(name, question, aliases+1)
	}
	if rest.rcode == dns.RcodeServerFailure {
		return rest
	}
	a.rcode, a.records, a.extra = rest.rcode, append(a.records, rest.records...), rest.extra
	return a
}

// reverse returns the loopback address whose reverse name this is, if it is one of the addresses of Services.
func reverse(name string) (netip.Addr, bool) {
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	labels := strings.Split(rest, ".")
	if !ok || len(labels) != 4 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	return address, err == nil && addresses.Network.Contains(address)
}

// pointer answers with the Service that has a loopback address.
func (s *Server) pointer(address netip.Addr, question dns.Question) *answer {
	service, ok := s.Owner(address)
	switch {
	case !ok:
		return &answer{rcode: dns.RcodeNameError}
	case question.Qtype != dns.TypePTR:
		return &answer{}
	}
	return &answer{records: []dns.RR{&dns.PTR{
		Hdr: header(question.Name, dns.TypePTR), Ptr: service.Name + "." + service.Namespace + ".svc." + s.zone,
	}}}
}
