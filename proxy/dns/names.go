package dns

import (
	"errors"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
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

// question is what a client asks.
type question struct {
	dns.Question
	// room is how many records the client can receive at most. An answer has no more: a Service may have thousands of
	// endpoints, and programs may ask as often as they can.
	room int
	// aliases is how many ExternalName Services have led to the name.
	aliases int
}

// smallest is the size of the smallest record in an answer, one of type A with a compressed name, in bytes.
const smallest = 16

// sample returns n of all, chosen at random and in random order, or all if they are fewer. more says that they are not.
func sample[T any](all iter.Seq[T], n int) (some []T, more bool) {
	seen := 0
	for one := range all {
		seen++
		if len(some) < n {
			some = append(some, one)
		} else if i := rand.IntN(seen); i < n {
			some[i] = one
		}
	}
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return some, seen > n
}

// lookup answers a question about the cluster domain. name is that of the question in lower case.
func (s *Server) lookup(name string, q question) *answer {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, s.zone))
	switch n := len(labels); {
	case n == 0 && q.Qtype == dns.TypeSOA:
		return found([]dns.RR{authority(s.zone)}, nil)
	case n == 0:
		return none()
	case n == 1 && labels[0] == "dns-version":
		if q.Qtype != dns.TypeTXT {
			return none()
		}
		return found([]dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{specification}}}, nil)
	case labels[n-1] == "pod":
		return s.pod(labels[:n-1], q)
	case labels[n-1] == "svc":
		return s.service(labels[:n-1], q)
	}
	return absent()
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// pod answers a question about a name below pod, such as 10-0-0-1.NAMESPACE.pod.
func (s *Server) pod(labels []string, q question) *answer {
	switch len(labels) {
	case 0, 1:
		return none()
	case 2:
		address, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", "."))
		if err == nil && address.Is4() {
			return addressRecords(q, slices.Values([]netip.Addr{address}))
		}
		if address, err = netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ":")); err == nil && address.Is6() {
			return none()
		}
	}
	return absent()
}

// addressRecords returns A records for the name of the question, if it is about A records. Clients use the first, so
// the order is a random one.
func addressRecords(q question, all iter.Seq[netip.Addr]) *answer {
	if q.Qtype != dns.TypeA {
		return none()
	}
	some, more := sample(all, q.room)
	seen := map[netip.Addr]bool{}
	var records []dns.RR
	for _, address := range some {
		if !seen[address] {
			seen[address] = true
			records = append(records, addressRecord(q.Name, address))
		}
	}
	a := found(records, nil)
	a.partial = more
	return a
}

func addressRecord(name string, address netip.Addr) dns.RR {
	return &dns.A{Hdr: header(name, dns.TypeA), A: address.AsSlice()}
}

// service answers a question about a name below svc.
func (s *Server) service(labels []string, q question) *answer {
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
		return s.alias(one, q)
	case n == 2 && q.Qtype == dns.TypeSRV:
		return s.ports(one, "", "", q)
	case n == 2 && one.Kind == state.Headless:
		return hosts(one, "", q)
	case n == 2:
		return s.clusterIP(one, q)
	case n == 3 && strings.HasPrefix(labels[0], "_"):
		// A protocol such as _tcp has no records. It exists if there are names of ports below it.
		q.Qtype = dns.TypeNone
		return s.ports(one, "", labels[0][1:], q)
	case n == 3:
		return hosts(one, labels[0], q)
	case strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return s.ports(one, labels[0][1:], labels[1][1:], q)
	}
	return absent()
}

// clusterIP answers with the addresses of a Service of type ClusterIP.
func (s *Server) clusterIP(one *state.Service, q question) *answer {
	if q.Qtype != dns.TypeA {
		return none()
	}
	all, err := s.Addresses(one.Name)
	if err != nil {
		return failure(dns.ExtendedErrorCodeOther, err)
	}
	return addressRecords(q, slices.Values(all))
}

// hosts answers with the endpoints of a Service, or with those that have a host name.
func hosts(one *state.Service, name string, q question) *answer {
	all := func(yield func(netip.Addr) bool) {
		for host := range one.Hosts() {
			if (name == "" || host.Name() == name) && !yield(host.Address) {
				return
			}
		}
	}
	for range all {
		return addressRecords(q, all)
	}
	return absent()
}

// target is what an SRV record points at.
type target struct {
	name string
	port uint16
}

// ports answers with the SRV records of named ports. An empty name or protocol stands for all.
func (s *Server) ports(one *state.Service, name, protocol string, q question) *answer {
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
	more := false
	if one.Kind == state.Headless {
		var hosts []endpoints.Host
		hosts, more = sample(func(yield func(endpoints.Host) bool) {
			for host := range one.Hosts() {
				if slices.ContainsFunc(host.Ports, wanted) && !yield(host) {
					return
				}
			}
		}, q.room)
		for _, host := range hosts {
			full := host.Name() + "." + service
			add(host.Ports, full)
			glue = append(glue, addressRecord(full, host.Address))
		}
	} else if add(one.Ports, service) && q.Qtype == dns.TypeSRV {
		all, err := s.Addresses(one.Name)
		if err != nil {
			return failure(dns.ExtendedErrorCodeOther, err)
		}
		some, _ := sample(slices.Values(all), q.room)
		for _, address := range some {
			glue = append(glue, addressRecord(service, address))
		}
	}
	switch {
	case len(targets) == 0:
		return absent()
	case q.Qtype != dns.TypeSRV:
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
				Hdr: header(q.Name, dns.TypeSRV), Weight: weight, Port: to.port, Target: to.name,
			})
		}
	}
	a := found(records, glue)
	a.partial = more
	return a
}

var (
	errAliases = errors.New("more than 8 ExternalName Services lead to each other")
	errIPv6    = errors.New("the Service has IPv6 addresses only, and cloud Pods have IPv4 addresses only")
	errAlias   = errors.New("the ExternalName of the Service is not a name of DNS")
)

// alias answers for an ExternalName Service: with the other name, and with what that name has.
func (s *Server) alias(one *state.Service, q question) *answer {
	other := dns.Fqdn(one.ExternalName)
	if _, ok := dns.IsDomainName(other); !ok {
		return failure(dns.ExtendedErrorCodeInvalidData, errAlias)
	}
	a := found([]dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: other}}, nil)
	if q.Qtype == dns.TypeCNAME {
		return a
	}
	q.Name, q.aliases = other, q.aliases+1
	var rest *answer
	switch name := dns.CanonicalName(other); {
	case !dns.IsSubDomain(s.zone, name):
		var err error
		if rest, err = s.upstream.resolve(q.Question); err != nil {
			return failure(dns.ExtendedErrorCodeNetworkError, err)
		}
	case q.aliases > maxAliases:
		return failure(dns.ExtendedErrorCodeOther, errAliases)
	default:
		rest = s.lookup(name, q)
	}
	if rest.rcode == dns.RcodeServerFailure {
		return rest
	}
	a.rcode, a.records, a.extra, a.partial = rest.rcode, append(a.records, rest.records...), rest.extra, rest.partial
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
func (s *Server) pointer(address netip.Addr, q question) *answer {
	service, ok := s.Owner(address)
	switch {
	case !ok:
		return &answer{rcode: dns.RcodeNameError}
	case q.Qtype != dns.TypePTR:
		return &answer{}
	}
	return &answer{records: []dns.RR{&dns.PTR{
		Hdr: header(q.Name, dns.TypePTR), Ptr: service.Name + "." + service.Namespace + ".svc." + s.zone,
	}}}
}
