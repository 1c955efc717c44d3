// Package dns answers the DNS queries of the programs in the Pod. Names of Services follow Kubernetes' specification of
// DNS-based service discovery, version 1.1.0, with two differences: a Service of type ClusterIP has a loopback address,
// and there are no IPv6 addresses. All other names are passed on to the resolvers that the Pod would have without the
// proxy.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/state"
)

// Config is what a Server needs.
type Config struct {
	// Address is the host:port at which it answers, over UDP and TCP.
	Address string
	// ClusterDomain is the domain of the names of Services, such as cluster.local.
	ClusterDomain string
	// Nameservers are the host:port of the resolvers for other names, in order of preference.
	Nameservers []string
	// Service returns a Service, or nil if it does not exist. HasNamespace reports whether a namespace has any.
	Service      func(namespace, name string) *state.Service
	HasNamespace func(namespace string) bool
	// Addresses returns the addresses for programs of the Pod of a Service of type ClusterIP.
	Addresses func(types.NamespacedName) ([]netip.Addr, error)
	// Owner returns the Service that has a loopback address.
	Owner func(netip.Addr) (types.NamespacedName, bool)
	// Ready returns why Services are not known yet, or nil.
	Ready func() error
	// Version is what the name version.server says (RFC 4892).
	Version string
	Logger  *slog.Logger
}

// Server answers queries.
type Server struct {
	Config
	// zone is the cluster domain in lower case, with a dot at its end.
	zone     string
	upstream *upstream
	// working has an element for each query over UDP that is not answered yet.
	working chan struct{}
	// logs limits messages that programs of the Pod can cause.
	logs rate.Sometimes
}

// New returns a Server that does not listen yet.
func New(config Config) *Server {
	return &Server{
		Config: config, zone: dns.CanonicalName(config.ClusterDomain),
		upstream: newUpstream(config.Nameservers, config.Logger),
		working:  make(chan struct{}, maxWorking), logs: rate.Sometimes{Interval: time.Minute},
	}
}

const (
	// maxConnections is how many TCP clients are served at the same time. Others wait.
	maxConnections = 100
	// maxWorking is how many queries over UDP are worked on at the same time: those that wait for nameservers, and as many
	// others. More are dropped, as a network may: the memory of the Pod belongs to its application.
	maxWorking = 2 * maxPending
	// maxQuery is the size of the largest query over UDP. Names have 255 bytes at most.
	maxQuery = 4 << 10
	// maxAnswer is the size of the largest answer over UDP, if the client allows it.
	maxAnswer = 4 << 10
	// ttl is how long programs may keep an answer, in seconds. CoreDNS has the same.
	ttl = 5
)

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	datagrams, err := net.ListenPacket("udp4", s.Address)
	if err != nil {
		return fmt.Errorf("answering DNS queries at %s: %w", s.Address, err)
	}
	listener, err := net.Listen("tcp4", s.Address)
	if err != nil {
		return errors.Join(fmt.Errorf("answering DNS queries at %s: %w", s.Address, err), datagrams.Close())
	}
	servers := []*dns.Server{
		// A read over UDP waits for the next client, and one over TCP for the next query of a client.
		{PacketConn: datagrams, Handler: s, UDPSize: maxQuery, ReadTimeout: time.Hour},
		{Listener: netutil.LimitListener(tcpListener{listener}, maxConnections), Handler: s},
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range servers {
		group.Go(func() error { return serve(ctx, server) })
	}
	return group.Wait()
}

const (
	// acceptDelay is how long a process without a free file descriptor waits before it accepts the next connection.
	acceptDelay = 100 * time.Millisecond
	// writeLimit is how long a client over TCP may take for an answer.
	writeLimit = 2 * time.Second
)

// tcpListener limits what dns.Server does not. If the process has no file descriptor left, it waits: the server would
// try again at once, and use up a processor. And its connections end if a client does not read.
type tcpListener struct{ net.Listener }

// Accept implements net.Listener.
func (l tcpListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			time.Sleep(acceptDelay)
		}
		return nil, err
	}
	return tcpConn{conn}, nil
}

type tcpConn struct{ net.Conn }

// Write implements net.Conn. The server then waits for the next query of the client, for a few seconds.
func (c tcpConn) Write(message []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(message)
	if err != nil {
		_ = c.Close() // A part of an answer may be sent: no other can follow.
	}
	return n, err
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, server *dns.Server) error {
	started, ended := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	select {
	case <-started:
		select {
		case <-ctx.Done():
			if err := server.Shutdown(); err != nil {
				return fmt.Errorf("ending to answer DNS queries: %w", err)
			}
			return <-ended
		case err := <-ended:
			return fmt.Errorf("answering DNS queries: %w", err)
		}
	case err := <-ended:
		return fmt.Errorf("beginning to answer DNS queries: %w", err)
	}
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	_, isTCP := w.RemoteAddr().(*net.TCPAddr)
	if !isTCP {
		select {
		case s.working <- struct{}{}:
			defer func() { <-s.working }()
		default:
			s.logs.Do(func() { s.Logger.Warn("queries are dropped: there are too many at once", "limit", maxWorking) })
			return
		}
	}
	response := s.respond(query, isTCP)
	if err := w.WriteMsg(response); err != nil {
		s.Logger.Debug("writing a DNS answer", "question", query.Question, "err", err)
	}
}

// respond returns the answer to a query.
func (s *Server) respond(query *dns.Msg, isTCP bool) *dns.Msg {
	if len(query.Question) != 1 { // dns.Server looks at the header only, which may promise one that does not follow.
		return new(dns.Msg).SetRcodeFormatError(query)
	}
	a, ok := s.own(query, question{Question: query.Question[0], room: sizeFor(query, isTCP) / smallest})
	if !ok {
		response, err := s.upstream.ask(query, isTCP)
		if err == nil {
			fit(response, query, isTCP)
			return response
		}
		a = failure(dns.ExtendedErrorCodeNetworkError, err)
	}
	return a.message(query, s.zone, isTCP)
}

// own returns the answer to a question that this server answers, or false if it must be passed on.
func (s *Server) own(query *dns.Msg, q question) (*answer, bool) {
	name := dns.CanonicalName(q.Name)
	switch {
	case query.Opcode != dns.OpcodeQuery:
		return &answer{rcode: dns.RcodeNotImplemented}, true
	case q.Qclass == dns.ClassCHAOS:
		return s.version(name, q), true
	case q.Qclass != dns.ClassINET, q.Qtype == dns.TypeAXFR, q.Qtype == dns.TypeIXFR:
		return &answer{rcode: dns.RcodeRefused}, true // A transfer of a zone has many messages. Resolvers have none.
	case dns.IsSubDomain(s.zone, name):
		if err := s.Ready(); err != nil {
			return failure(dns.ExtendedErrorCodeNotReady, err), true
		}
		return s.lookup(name, q), true
	}
	if address, ok := reverse(name); ok {
		return s.pointer(address, q), true
	}
	return nil, false
}

// versionNames are names for the version of a server (RFC 4892). The check of the program asks for the first.
var versionNames = []string{"version.server.", "version.bind."}

// version answers questions about this server. It fails as long as the server does not know Services.
func (s *Server) version(name string, q question) *answer {
	if q.Qtype != dns.TypeTXT || name != versionNames[0] && name != versionNames[1] {
		return &answer{rcode: dns.RcodeRefused}
	}
	if err := s.Ready(); err != nil {
		return failure(dns.ExtendedErrorCodeNotReady, err)
	}
	return &answer{records: []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, Txt: []string{s.Version},
	}}}
}

// checkTimeout is how long Check waits.
const checkTimeout = time.Second

// Check asks the server at an address whether it answers and knows Services. It returns why not.
func Check(ctx context.Context, address string) error {
	ctx, stop := context.WithTimeout(ctx, checkTimeout)
	defer stop()
	query := new(dns.Msg)
	query.SetQuestion(versionNames[0], dns.TypeTXT)
	query.Question[0].Qclass = dns.ClassCHAOS
	query.SetEdns0(maxAnswer, false)
	response, _, err := new(dns.Client).ExchangeContext(ctx, query, address)
	if err != nil {
		return fmt.Errorf("sending a query to %s: %w", address, err)
	}
	if response.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("the server at %s answers %s: %s", address, dns.RcodeToString[response.Rcode], reason(response))
	}
	return nil
}

// reason returns what a response says about its failure (RFC 8914).
func reason(response *dns.Msg) string {
	if edns := response.IsEdns0(); edns != nil {
		for _, option := range edns.Option {
			if extended, ok := option.(*dns.EDNS0_EDE); ok {
				return extended.ExtraText
			}
		}
	}
	return "it does not say why"
}

// answer is what this server says itself.
type answer struct {
	rcode   int
	records []dns.RR
	extra   []dns.RR
	// partial says that there are more records.
	partial bool
	// inZone answers are about names of the cluster domain.
	inZone bool
	// code and reason say why the answer is a failure.
	code   uint16
	reason error
}

// failure is the answer SERVFAIL: a resolver tries again.
func failure(code uint16, reason error) *answer {
	return &answer{rcode: dns.RcodeServerFailure, code: code, reason: reason}
}

// message returns the answer as a message that fits into what the client can receive.
func (a *answer) message(query *dns.Msg, zone string, isTCP bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(query)
	m.Rcode, m.Authoritative, m.RecursionAvailable, m.Compress = a.rcode, a.inZone, true, true
	m.Answer, m.Extra, m.Truncated = a.records, a.extra, a.partial
	if a.inZone && len(a.records) == 0 && (a.rcode == dns.RcodeSuccess || a.rcode == dns.RcodeNameError) {
		m.Ns = []dns.RR{authority(zone)}
	}
	if edns := query.IsEdns0(); edns != nil {
		m.SetEdns0(maxAnswer, edns.Do())
		if edns.Version() != 0 {
			m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeBadVers
		}
		if a.reason != nil {
			own := m.IsEdns0()
			own.Option = append(own.Option, &dns.EDNS0_EDE{InfoCode: a.code, ExtraText: shorten(a.reason.Error())})
		}
	}
	fit(m, query, isTCP)
	if isTCP {
		m.Truncated = false // There is no other way to get the rest: the records are a random part of all.
	}
	return m
}

// fit leaves out what the client that has sent the query cannot receive in one message.
func fit(response, query *dns.Msg, isTCP bool) {
	response.Truncate(sizeFor(query, isTCP))
	response.Compress = true // Truncate writes what fits as it is.
}

// sizeFor returns the size of the largest message that the client that has sent a query can receive.
func sizeFor(query *dns.Msg, isTCP bool) int {
	if isTCP {
		return dns.MaxMsgSize
	}
	if edns := query.IsEdns0(); edns != nil {
		return min(max(int(edns.UDPSize()), dns.MinMsgSize), maxAnswer)
	}
	return dns.MinMsgSize
}

// maxReason is how much of a reason is in an answer.
const maxReason = 300

func shorten(text string) string {
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// authority is the SOA record of the cluster domain, which says how long an answer without records may be kept.
func authority(zone string) dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.dns." + zone, Mbox: "hostmaster." + zone,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}
