package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/addresses"
	"github.com/spillway-k8s/spillway/proxy/podtest"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freeAddress returns an address of the loopback interface whose port no program uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		address := listener.Addr().String()
		conn, err := net.ListenPacket("udp4", address)
		_ = listener.Close()
		if err == nil {
			_ = conn.Close()
			return address
		}
	}
}

// nameserver answers queries for names outside of the cluster.
type nameserver struct {
	address string
	stop    func()

	mu     sync.Mutex
	asked  []string
	answer func(dns.ResponseWriter, *dns.Msg)
}

// resolver is a nameserver that knows the names of example.com.
func resolver(w dns.ResponseWriter, query *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(query)
	question := query.Question[0]
	name := strings.ToLower(question.Name)
	rr := func(format string, values ...any) {
		one, err := dns.NewRR(fmt.Sprintf(format, values...))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, one)
	}
	switch {
	case name == "www.example.com." && question.Qtype == dns.TypeA:
		rr("%s 60 IN A 192.0.2.1", question.Name)
	case name == "www.example.com." && question.Qtype == dns.TypeAAAA:
		rr("%s 60 IN AAAA 2001:db8::1", question.Name)
	case name == "www.example.com." && question.Qtype == dns.TypeTXT, name == "www.example.com.":
	case name == "large.example.com." && question.Qtype == dns.TypeA:
		for i := range 100 {
			rr("%s 60 IN A 192.0.2.%d", question.Name, i)
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
	case name == "broken.example.com.":
		m.Rcode = dns.RcodeServerFailure
	default:
		m.Rcode = dns.RcodeNameError
	}
	if err := w.WriteMsg(m); err != nil {
		panic(err)
	}
}

func startNameserver(t *testing.T, answer func(dns.ResponseWriter, *dns.Msg)) *nameserver {
	t.Helper()
	n := &nameserver{address: freeAddress(t), answer: answer}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		n.mu.Lock()
		n.asked = append(n.asked, query.Question[0].Name)
		n.mu.Unlock()
		n.answer(w, query)
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	datagrams, err := net.ListenPacket("udp4", n.address)
	require.NoError(t, err)
	listener, err := net.Listen("tcp4", n.address)
	require.NoError(t, err)
	for _, server := range []*dns.Server{
		{PacketConn: datagrams, Handler: handler}, {Listener: listener, Handler: handler},
	} {
		running.Go(func() { assert.NoError(t, serve(ctx, server)) })
	}
	n.stop = func() {
		stop()
		running.Wait()
	}
	t.Cleanup(n.stop)
	return n
}

func (n *nameserver) questions() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// world is a Server with the Services of a cluster.
type world struct {
	*Server
	t       *testing.T
	cluster *proxytest.Cluster
	table   *addresses.Table

	mu    sync.Mutex
	ready error
	// direct are the answers for Services without a loopback address.
	direct map[string]any
	log    strings.Builder
}

func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// set makes a Service one without a loopback address.
func (w *world) set(service string, answer any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.direct[service] = answer
}

func (w *world) setReady(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = err
}

func start(t *testing.T, cluster *proxytest.Cluster, nameservers ...string) *world {
	t.Helper()
	w := &world{t: t, cluster: cluster, table: addresses.New(), direct: map[string]any{}}
	known := podtest.Follow(t, cluster, func(types.NamespacedName) {})
	w.Server = New(Config{
		Address: freeAddress(t), ClusterDomain: "Cluster.Local", Nameservers: nameservers,
		Service: known.Get, HasNamespace: known.HasNamespace, Owner: w.table.Service, Version: "proxy 1.2.3",
		Addresses: func(name types.NamespacedName) ([]netip.Addr, error) {
			w.mu.Lock()
			other := w.direct[name.String()]
			w.mu.Unlock()
			switch other := other.(type) {
			case error:
				return nil, other
			case []netip.Addr:
				return other, nil
			}
			address, err := w.table.Of(name)
			return []netip.Addr{address}, err
		},
		Ready: func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.ready
		},
		Logger: slog.New(slog.NewTextHandler(w, nil)),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	answers := func() bool { return Check(t.Context(), w.Config.Address) == nil }
	require.Eventually(t, answers, podtest.Soon, time.Millisecond)
	return w
}

// ask sends a query over UDP or TCP.
func (w *world) ask(network, name string, kind uint16) *dns.Msg {
	w.t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), kind)
	return w.exchange(network, query)
}

func (w *world) exchange(network string, query *dns.Msg) *dns.Msg {
	w.t.Helper()
	client := dns.Client{Net: network, Timeout: podtest.Soon}
	response, _, err := client.Exchange(query, w.Config.Address)
	require.NoError(w.t, err)
	require.Equal(w.t, query.Question, response.Question)
	require.True(w.t, response.RecursionAvailable || len(w.Nameservers) > 0)
	return response
}

// text writes the records of an answer without their TTL, in order: "A 10.0.0.1".
func text(records []dns.RR) []string {
	all := []string{}
	for _, record := range records {
		head := record.Header()
		value := strings.TrimSpace(strings.TrimPrefix(record.String(), head.String()))
		all = append(all, dns.TypeToString[head.Rrtype]+" "+value)
	}
	slices.Sort(all)
	return all
}

// shop is a cluster with each kind of Service.
func shop() *proxytest.Cluster {
	c := proxytest.NewCluster()
	headless := func(name string, ports ...string) *corev1.Service {
		s := proxytest.Service(name, ports...)
		s.Spec.ClusterIP = corev1.ClusterIPNone
		return s
	}
	external := func(name, other string) *corev1.Service {
		s := proxytest.Service(name)
		s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: other}
		return s
	}
	members := proxytest.Slice("db-a", "shop/db", []string{"sql:5432"}, "10.0.1.1", "10.0.1.2", "10.0.1.3")
	members.Endpoints[0].Hostname, members.Endpoints[1].Hostname = new("db-0"), new("db-1")
	members.Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: new(false)}
	twice := proxytest.Slice("db-b", "shop/db", []string{"sql:5432"}, "10.0.1.1")
	twice.Endpoints[0].Hostname = new("db-0")
	all := headless("shop/all", "sql:5432")
	all.Spec.PublishNotReadyAddresses = true
	allMembers := members.DeepCopy()
	allMembers.Name, allMembers.Labels[discoveryv1.LabelServiceName] = "all-a", "all"
	six := func(s *corev1.Service) *corev1.Service {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
		return s
	}
	sixSlice := func(service string) *discoveryv1.EndpointSlice {
		s := proxytest.Slice(strings.ReplaceAll(service, "/", "-")+"-6", service, []string{"http:80"}, "fd00::1")
		s.AddressType, s.Endpoints[0].Hostname = discoveryv1.AddressTypeIPv6, new("web-0")
		return s
	}
	both := headless("shop/both", "http:80")
	both.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.2.%d", i))
	}
	c.Put(
		proxytest.Service("default/kubernetes", "https:443:6443"),
		proxytest.Slice("kubernetes", "default/kubernetes", []string{"https:443:6443"}, "10.1.0.1"),
		proxytest.Service("shop/cart", "http:80:8080", "metrics:9090", "dns:53/UDP"), proxytest.Service("shop/plain", ":80"),
		headless("shop/db", "sql:5432"), members, twice, all, allMembers, headless("shop/empty", "sql:5432"),
		headless("shop/many", "http:80"), proxytest.Slice("many-a", "shop/many", []string{"http:80"}, many...),
		six(proxytest.Service("shop/six", "http:80")), six(headless("shop/six-members", "http:80")),
		sixSlice("shop/six"), sixSlice("shop/six-members"), both, sixSlice("shop/both"),
		proxytest.Slice("both-4", "shop/both", []string{"http:80"}, "10.0.3.1"),
		external("shop/www", "www.example.com"), external("shop/gone", "gone.example.com"),
		external("shop/basket", "cart.shop.svc.cluster.local"), external("shop/basket2", "basket.shop.svc.cluster.local."),
		external("shop/loop", "loop.shop.svc.cluster.local"), external("shop/down", "broken.example.com"),
		external("shop/large", "large.example.com"), external("shop/nowhere", "absent.shop.svc.cluster.local"),
	)
	return c
}

func TestNamesOfTheCluster(t *testing.T) {
	upstream := startNameserver(t, resolver)
	w := start(t, shop(), upstream.address)
	// The addresses in this table are given in this order.
	for _, name := range []string{"shop/cart", "default/kubernetes", "shop/plain"} {
		namespace, name, _ := strings.Cut(name, "/")
		_, err := w.table.Of(types.NamespacedName{Namespace: namespace, Name: name})
		require.NoError(t, err)
	}
	const cart, kubernetes, plain = "A 127.64.0.1", "A 127.64.0.2", "A 127.64.0.3"
	const a, aaaa, srv, txt, any = dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT, dns.TypeANY
	const ok, nx = dns.RcodeSuccess, dns.RcodeNameError
	for name, tc := range map[string]struct {
		name  string
		kind  uint16
		rcode int
		want  []string
		extra []string
	}{
		"a Service":                          {"cart.shop.svc.cluster.local", a, ok, []string{cart}, nil},
		"upper case":                         {"CART.Shop.SVC.cluster.LOCAL", a, ok, []string{cart}, nil},
		"the API server":                     {"kubernetes.default.svc.cluster.local", a, ok, []string{kubernetes}, nil},
		"no IPv6 address":                    {"cart.shop.svc.cluster.local", aaaa, ok, nil, nil},
		"another type":                       {"cart.shop.svc.cluster.local", txt, ok, nil, nil},
		"any type":                           {"cart.shop.svc.cluster.local", any, ok, nil, nil},
		"a Service of another namespace":     {"cart.default.svc.cluster.local", a, nx, nil, nil},
		"no such Service, IPv6":              {"none.shop.svc.cluster.local", aaaa, nx, nil, nil},
		"no such namespace":                  {"cart.none.svc.cluster.local", a, nx, nil, nil},
		"a namespace":                        {"shop.svc.cluster.local", a, ok, nil, nil},
		"a namespace that is not known":      {"none.svc.cluster.local", a, nx, nil, nil},
		"svc itself":                         {"svc.cluster.local", a, ok, nil, nil},
		"the domain itself":                  {"cluster.local", a, ok, nil, nil},
		"something else in the domain":       {"cart.cluster.local", a, nx, nil, nil},
		"a name of another kind":             {"cart.shop.pods.cluster.local", a, nx, nil, nil},
		"a name below a Service":             {"web.cart.shop.svc.cluster.local", a, nx, nil, nil},
		"a name far below":                   {"a.b.c.cart.shop.svc.cluster.local", a, nx, nil, nil},
		"two names below a Service":          {"a.b.cart.shop.svc.cluster.local", a, nx, nil, nil},
		"the name of the site with searches": {"www.example.com.shop.svc.cluster.local", a, nx, nil, nil},
		"the name of the site, last search":  {"www.example.com.cluster.local", a, nx, nil, nil},
		"the domain twice":                   {"cart.shop.svc.cluster.local.svc.cluster.local", a, nx, nil, nil},
		"the version of the names":           {"dns-version.cluster.local", txt, ok, []string{`TXT "1.1.0"`}, nil},
		"the version has no address":         {"dns-version.cluster.local", a, ok, nil, nil},
		"the authority":                      {"cluster.local", dns.TypeSOA, ok, []string{"SOA " + soaText}, nil},
		"a headless Service: ready endpoints": {
			"db.shop.svc.cluster.local", a, ok, []string{"A 10.0.1.1", "A 10.0.1.3"}, nil,
		},
		"a headless Service, IPv6":        {"db.shop.svc.cluster.local", aaaa, ok, nil, nil},
		"a host name":                     {"db-0.db.shop.svc.cluster.local", a, ok, []string{"A 10.0.1.1"}, nil},
		"a host name, IPv6":               {"db-0.db.shop.svc.cluster.local", aaaa, ok, nil, nil},
		"a host name that is not ready":   {"db-1.db.shop.svc.cluster.local", a, nx, nil, nil},
		"an endpoint without a host name": {"10-0-1-3.db.shop.svc.cluster.local", a, ok, []string{"A 10.0.1.3"}, nil},
		"no such host name":               {"db-7.db.shop.svc.cluster.local", a, nx, nil, nil},
		"no ready endpoint":               {"empty.shop.svc.cluster.local", a, nx, nil, nil},
		"both families":                   {"both.shop.svc.cluster.local", a, ok, []string{"A 10.0.3.1"}, nil},
		"both families, IPv6":             {"both.shop.svc.cluster.local", aaaa, ok, nil, nil},
		"IPv6 only":                       {"six.shop.svc.cluster.local", a, ok, nil, nil},
		"IPv6 only, IPv6":                 {"six.shop.svc.cluster.local", aaaa, ok, nil, nil},
		"IPv6 only, a port":               {"_http._tcp.six.shop.svc.cluster.local", srv, ok, nil, nil},
		"members, IPv6 only":              {"six-members.shop.svc.cluster.local", a, ok, nil, nil},
		"members, IPv6 only, host name":   {"web-0.six-members.shop.svc.cluster.local", a, ok, nil, nil},
		"publishNotReadyAddresses": {
			"all.shop.svc.cluster.local", a, ok, []string{"A 10.0.1.1", "A 10.0.1.2", "A 10.0.1.3"}, nil,
		},
		"publishNotReadyAddresses: a host name": {
			"db-1.all.shop.svc.cluster.local", a, ok, []string{"A 10.0.1.2"}, nil,
		},
		"a named port": {
			"_http._tcp.cart.shop.svc.cluster.local", srv, ok,
			[]string{"SRV 0 100 80 cart.shop.svc.cluster.local."}, []string{cart},
		},
		"a named port over UDP": {
			"_dns._udp.cart.shop.svc.cluster.local", srv, ok,
			[]string{"SRV 0 100 53 cart.shop.svc.cluster.local."}, []string{cart},
		},
		"all named ports": {
			"cart.shop.svc.cluster.local", srv, ok, []string{
				"SRV 0 33 53 cart.shop.svc.cluster.local.", "SRV 0 33 80 cart.shop.svc.cluster.local.",
				"SRV 0 33 9090 cart.shop.svc.cluster.local.",
			},
			[]string{cart},
		},
		"an unnamed port":                {"plain.shop.svc.cluster.local", srv, nx, nil, nil},
		"a Service with an unnamed port": {"plain.shop.svc.cluster.local", a, ok, []string{plain}, nil},
		"a port of another protocol":     {"_http._udp.cart.shop.svc.cluster.local", srv, nx, nil, nil},
		"no such port":                   {"_none._tcp.cart.shop.svc.cluster.local", srv, nx, nil, nil},
		"a port has no address":          {"_http._tcp.cart.shop.svc.cluster.local", a, ok, nil, nil},
		"a protocol":                     {"_tcp.cart.shop.svc.cluster.local", a, ok, nil, nil},
		"a protocol has no ports itself": {"_tcp.cart.shop.svc.cluster.local", srv, ok, nil, nil},
		"a protocol without ports":       {"_sctp.cart.shop.svc.cluster.local", a, nx, nil, nil},
		"a port of a headless Service": {
			"_sql._tcp.db.shop.svc.cluster.local", srv, ok,
			[]string{
				"SRV 0 33 5432 10-0-1-3.db.shop.svc.cluster.local.", "SRV 0 33 5432 db-0.db.shop.svc.cluster.local.",
			},
			[]string{"A 10.0.1.1", "A 10.0.1.1", "A 10.0.1.3"},
		},
		"a port without endpoints": {"_sql._tcp.empty.shop.svc.cluster.local", srv, nx, nil, nil},
		"another name": {
			"www.shop.svc.cluster.local", a, ok, []string{"A 192.0.2.1", "CNAME www.example.com."}, nil,
		},
		"another name, IPv6": {
			"www.shop.svc.cluster.local", aaaa, ok, []string{"AAAA 2001:db8::1", "CNAME www.example.com."}, nil,
		},
		"another name, the alias alone": {
			"www.shop.svc.cluster.local", dns.TypeCNAME, ok, []string{"CNAME www.example.com."}, nil,
		},
		"another name that does not exist": {
			"gone.shop.svc.cluster.local", a, nx, []string{"CNAME gone.example.com."}, nil,
		},
		"another name of the cluster": {
			"basket.shop.svc.cluster.local", a, ok, []string{cart, "CNAME cart.shop.svc.cluster.local."}, nil,
		},
		"another name of another name": {
			"basket2.shop.svc.cluster.local", a, ok,
			[]string{cart, "CNAME basket.shop.svc.cluster.local.", "CNAME cart.shop.svc.cluster.local."}, nil,
		},
		"another name of the cluster that does not exist": {
			"nowhere.shop.svc.cluster.local", a, nx, []string{"CNAME absent.shop.svc.cluster.local."}, nil,
		},
		"another name has no host names":    {"web.www.shop.svc.cluster.local", a, nx, nil, nil},
		"another name that leads to itself": {"loop.shop.svc.cluster.local", a, dns.RcodeServerFailure, nil, nil},
		"another name that cannot be resolved": {
			"down.shop.svc.cluster.local", a, dns.RcodeServerFailure, nil, nil,
		},
		"a Pod":                    {"10-0-0-7.shop.pod.cluster.local", a, ok, []string{"A 10.0.0.7"}, nil},
		"a Pod, IPv6":              {"10-0-0-7.shop.pod.cluster.local", aaaa, ok, nil, nil},
		"a Pod with IPv6":          {"fd00--1.shop.pod.cluster.local", aaaa, ok, nil, nil},
		"a Pod with no address":    {"web-7.shop.pod.cluster.local", a, nx, nil, nil},
		"a Pod with large numbers": {"10-0-0-256.shop.pod.cluster.local", a, nx, nil, nil},
		"the Pods of a namespace":  {"shop.pod.cluster.local", a, ok, nil, nil},
		"a name below a Pod":       {"a.10-0-0-7.shop.pod.cluster.local", a, nx, nil, nil},
		"a loopback address": {
			"1.0.64.127.in-addr.arpa", dns.TypePTR, ok, []string{"PTR cart.shop.svc.cluster.local."}, nil,
		},
		"a loopback address of no Service": {"9.9.64.127.in-addr.arpa", dns.TypePTR, nx, nil, nil},
		"a loopback address, another type": {"1.0.64.127.in-addr.arpa", txt, ok, nil, nil},
		"a name outside of the cluster":    {"www.example.com", a, ok, []string{"A 192.0.2.1"}, nil},
		"IPv6 outside of the cluster":      {"www.example.com", aaaa, ok, []string{"AAAA 2001:db8::1"}, nil},
		"no such name outside":             {"none.example.com", a, nx, nil, nil},
		"an address outside":               {"1.0.0.10.in-addr.arpa", dns.TypePTR, nx, nil, nil},
		"a domain with the same end":       {"mycluster.local", a, nx, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				response := w.ask(network, tc.name, tc.kind)
				assert.Equal(t, dns.RcodeToString[tc.rcode], dns.RcodeToString[response.Rcode], network)
				assert.ElementsMatch(t, tc.want, text(response.Answer), network)
				assert.ElementsMatch(t, tc.extra, text(response.Extra), network)
				inCluster := dns.IsSubDomain("cluster.local.", dns.CanonicalName(tc.name))
				if tc.want == nil && tc.rcode != dns.RcodeServerFailure && inCluster {
					assert.Equal(t, []string{"SOA " + soaText}, text(response.Ns), "resolvers may keep what does not exist")
				}
				for _, record := range response.Answer[:min(1, len(response.Answer))] {
					assert.Equal(t, response.Question[0].Name, record.Header().Name)
				}
			}
		})
	}
	for _, question := range upstream.questions() {
		assert.False(t, strings.HasSuffix(strings.ToLower(question), ".cluster.local."), "%s has left the Pod", question)
	}
}

const soaText = "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"

// resolve does what a resolver does with the searches of resolv.conf: it takes the first name that has an answer.
func (w *world) resolve(resolvConf, name string) (addresses []string, queries int) {
	w.t.Helper()
	config, err := dns.ClientConfigFromReader(strings.NewReader(resolvConf))
	require.NoError(w.t, err)
	for _, full := range config.NameList(name) {
		queries++
		if response := w.ask("udp", full, dns.TypeA); len(response.Answer) > 0 {
			return text(response.Answer), queries
		}
	}
	return nil, queries
}

func TestProgramsFindServicesWithSearches(t *testing.T) {
	const resolvConf = "nameserver 127.0.0.1\noptions ndots:5\n" +
		"search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
	w := start(t, shop(), startNameserver(t, resolver).address)
	cart := []string{"A 127.64.0.1"}
	for _, tc := range []struct {
		name    string
		want    []string
		queries int
	}{
		{"cart", cart, 1}, {"cart.shop", cart, 2}, {"cart.shop.svc", cart, 3}, {"cart.shop.svc.cluster.local", cart, 5},
		{"cart.shop.svc.cluster.local.", cart, 1}, {"db-0.db", []string{"A 10.0.1.1"}, 1},
		{"kubernetes.default", []string{"A 127.64.0.2"}, 2}, {"kubernetes.default.svc", []string{"A 127.64.0.2"}, 3},
		{"www.example.com", []string{"A 192.0.2.1"}, 5}, {"none", nil, 5}, {"basket", []string{
			"A 127.64.0.1", "CNAME cart.shop.svc.cluster.local.",
		}, 1},
	} {
		got, queries := w.resolve(resolvConf, tc.name)
		assert.Equal(t, tc.want, got, tc.name)
		assert.Equal(t, tc.queries, queries, tc.name)
	}
}

func TestAServiceWithoutALoopbackAddress(t *testing.T) {
	w := start(t, shop())
	w.set("shop/cart", []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")})
	w.set("shop/plain", errors.New("port 80/TCP of the Service: the application of the Pod uses this port"))
	direct := []string{"A 10.0.0.1", "A 10.0.0.2"}
	assert.Equal(t, direct, text(w.ask("udp", "cart.shop.svc.cluster.local", dns.TypeA).Answer))
	assert.Equal(t, direct, text(w.ask("udp", "_http._tcp.cart.shop.svc.cluster.local", dns.TypeSRV).Extra))

	query := new(dns.Msg)
	query.SetQuestion("plain.shop.svc.cluster.local.", dns.TypeA)
	response := w.exchange("udp", query)
	assert.Equal(t, dns.RcodeServerFailure, response.Rcode)
	assert.Nil(t, response.IsEdns0(), "the client does not know EDNS")
	query.SetEdns0(1232, false)
	response = w.exchange("udp", query)
	assert.Equal(t, dns.RcodeServerFailure, response.Rcode)
	assert.Contains(t, reason(response), "the application of the Pod uses this port")
	assert.Equal(t, dns.RcodeSuccess, w.ask("udp", "plain.shop.svc.cluster.local", dns.TypeAAAA).Rcode)
	w.set("shop/plain", errors.New(strings.Repeat("ä", 1000)))
	response = w.exchange("udp", query)
	assert.Len(t, reason(response), maxReason+len("…"))
}

// huge is a cluster with a headless Service of 5,000 endpoints.
func huge() *proxytest.Cluster {
	c := proxytest.NewCluster()
	service := proxytest.Service("shop/huge")
	service.Spec.ClusterIP = corev1.ClusterIPNone
	c.Put(service)
	for i := range 50 {
		var part []string
		for j := range 100 {
			part = append(part, fmt.Sprintf("10.0.%d.%d", i, j))
		}
		c.Put(proxytest.Slice(fmt.Sprintf("huge-%d", i), "shop/huge", []string{"http:80"}, part...))
	}
	return c
}

func TestLargeAnswersAreTruncatedOverUDP(t *testing.T) {
	upstream := startNameserver(t, resolver)
	w := start(t, shop(), upstream.address)
	for _, name := range []string{"many.shop.svc.cluster.local", "large.example.com"} {
		small := w.ask("udp", name, dns.TypeA)
		assert.True(t, small.Truncated, name)
		assert.Less(t, len(small.Answer), 40)
		whole := w.ask("tcp", name, dns.TypeA)
		assert.False(t, whole.Truncated, name)
		assert.Len(t, whole.Answer, 100)
	}
	query := new(dns.Msg)
	query.SetQuestion("many.shop.svc.cluster.local.", dns.TypeA)
	query.SetEdns0(4096, false)
	assert.Len(t, w.exchange("udp", query).Answer, 100, "the client can receive more")
	// An alias gets the whole answer, whatever the nameserver sends over UDP.
	assert.Len(t, w.ask("tcp", "large.shop.svc.cluster.local", dns.TypeA).Answer, 101)

	// What does not fit into any message is a random part.
	w = start(t, huge())
	for _, kind := range []uint16{dns.TypeA, dns.TypeSRV} {
		whole := w.ask("tcp", "huge.shop.svc.cluster.local", kind)
		assert.False(t, whole.Truncated)
		assert.Greater(t, len(whole.Answer), 500)
	}
}

func TestEachAnswerHasAnotherOrder(t *testing.T) {
	w := start(t, shop())
	orders := map[string]bool{}
	require.Eventually(t, func() bool {
		var order strings.Builder
		for _, record := range w.ask("tcp", "db.shop.svc.cluster.local", dns.TypeA).Answer {
			order.WriteString(record.String())
		}
		orders[order.String()] = true
		return len(orders) == 2
	}, podtest.Soon, time.Microsecond)
}

func TestAnotherNameserverIsAskedIfOneFails(t *testing.T) {
	first, second := startNameserver(t, resolver), startNameserver(t, resolver)
	w := start(t, shop(), first.address, second.address)
	ask := func() *dns.Msg { return w.ask("udp", "www.example.com", dns.TypeA) }
	assert.Equal(t, []string{"A 192.0.2.1"}, text(ask().Answer))
	assert.Empty(t, second.questions())
	assert.Equal(t, dns.RcodeServerFailure, w.ask("udp", "broken.example.com", dns.TypeA).Rcode)
	assert.Len(t, second.questions(), 1, "a failure may be that of one nameserver")
	first.stop()
	assert.Equal(t, []string{"A 192.0.2.1"}, text(ask().Answer))
	assert.Equal(t, []string{"A 192.0.2.1"}, text(w.ask("tcp", "www.example.com", dns.TypeA).Answer))
	asked := len(first.questions())
	assert.Equal(t, []string{"A 192.0.2.1"}, text(ask().Answer))
	assert.Len(t, first.questions(), asked)
	second.stop()

	query := new(dns.Msg)
	query.SetQuestion("www.example.com.", dns.TypeA)
	query.SetEdns0(1232, false)
	for range 2 {
		response := w.exchange("udp", query)
		assert.Equal(t, dns.RcodeServerFailure, response.Rcode)
		assert.Contains(t, reason(response), "connection refused")
	}
	w.mu.Lock()
	assert.Equal(t, 1, strings.Count(w.log.String(), "no nameserver answers"), "it is logged once a minute")
	w.mu.Unlock()
	assert.Equal(t, dns.RcodeServerFailure, w.ask("udp", "www.shop.svc.cluster.local", dns.TypeA).Rcode)
	assert.Equal(t, []string{"A 127.64.0.1"}, text(w.ask("udp", "cart.shop.svc.cluster.local", dns.TypeA).Answer))
}

func TestASilentNameserverIsNotWaitedForTwice(t *testing.T) {
	silent := startNameserver(t, func(dns.ResponseWriter, *dns.Msg) {})
	good := startNameserver(t, resolver)
	w := start(t, shop(), silent.address, good.address)
	begun := time.Now()
	assert.Equal(t, []string{"A 192.0.2.1"}, text(w.ask("udp", "www.example.com", dns.TypeA).Answer))
	assert.GreaterOrEqual(t, time.Since(begun), nameserverTimeout)
	assert.Equal(t, []string{"A 192.0.2.1"}, text(w.ask("udp", "www.example.com", dns.TypeA).Answer))
	assert.Len(t, silent.questions(), 1)
}

func TestForeignAnswersAreIgnored(t *testing.T) {
	liar := startNameserver(t, func(w dns.ResponseWriter, query *dns.Msg) {
		query.Question[0].Name = "other.example.com."
		resolver(w, query)
	})
	w := start(t, shop(), liar.address)
	assert.Equal(t, dns.RcodeServerFailure, w.ask("udp", "www.example.com", dns.TypeA).Rcode)
}

func TestPendingQueriesAreLimited(t *testing.T) {
	w := start(t, shop(), startNameserver(t, resolver).address)
	for range maxPending {
		w.upstream.pending <- struct{}{}
	}
	assert.Equal(t, dns.RcodeServerFailure, w.ask("udp", "www.example.com", dns.TypeA).Rcode)
	assert.Equal(t, []string{"A 127.64.0.1"}, text(w.ask("udp", "cart.shop.svc.cluster.local", dns.TypeA).Answer))
	<-w.upstream.pending
	assert.Equal(t, dns.RcodeSuccess, w.ask("udp", "www.example.com", dns.TypeA).Rcode)
	assert.Len(t, w.upstream.pending, maxPending-1)
}

// exhausted is a listener of a process that has no file descriptor left.
type exhausted struct{ net.Listener }

func (exhausted) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

func TestAProcessWithoutFileDescriptorsDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, attempts := time.Now(), 0
		for ; time.Since(began) < time.Second && attempts < 1000; attempts++ {
			_, err := tcpListener{exhausted{}}.Accept()
			require.ErrorIs(t, err, syscall.EMFILE)
		}
		assert.Equal(t, 10, attempts)
	})
}

// Programs that ask in a loop must not take the memory of the Pod.
func TestQueriesThatAreTooManyAtOnceAreDropped(t *testing.T) {
	w := start(t, shop())
	query := new(dns.Msg)
	query.SetQuestion("cart.shop.svc.cluster.local.", dns.TypeA)
	packet, err := query.Pack()
	require.NoError(t, err)
	conn, err := net.Dial("udp", w.Config.Address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	w.mu.Lock() // Nothing is answered meanwhile.
	for len(w.working) < maxWorking {
		_, err := conn.Write(packet)
		require.NoError(t, err)
	}
	_, err = conn.Write(packet)
	require.NoError(t, err)
	w.mu.Unlock()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return strings.Contains(w.log.String(), "queries are dropped")
	}, podtest.Soon, time.Millisecond)
	assert.Equal(t, dns.RcodeSuccess, w.ask("tcp", "cart.shop.svc.cluster.local", dns.TypeA).Rcode)
	answers := func() bool { return Check(t.Context(), w.Config.Address) == nil }
	require.Eventually(t, answers, podtest.Soon, time.Millisecond)
}

func TestUntilServicesAreKnownNamesOfTheClusterFail(t *testing.T) {
	w := start(t, shop(), startNameserver(t, resolver).address)
	require.NoError(t, Check(t.Context(), w.Config.Address))
	w.setReady(errors.New("the first list of Services has not arrived"))
	err := Check(t.Context(), w.Config.Address)
	require.ErrorContains(t, err, "SERVFAIL: the first list of Services has not arrived")
	assert.Equal(t, dns.RcodeServerFailure, w.ask("udp", "cart.shop.svc.cluster.local", dns.TypeA).Rcode)
	assert.Equal(t, dns.RcodeSuccess, w.ask("udp", "www.example.com", dns.TypeA).Rcode)

	require.ErrorContains(t, Check(t.Context(), freeAddress(t)), "sending a query to 127.0.0.1:")
}

func TestQueriesOfOtherKinds(t *testing.T) {
	w := start(t, shop())
	query := func(change func(*dns.Msg)) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion("cart.shop.svc.cluster.local.", dns.TypeA)
		change(m)
		return w.exchange("udp", m)
	}
	chaos := query(func(m *dns.Msg) {
		m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
	})
	assert.Equal(t, []string{`TXT "proxy 1.2.3"`}, text(chaos.Answer))
	assert.Equal(t, dns.RcodeRefused, query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }).Rcode)
	assert.Equal(t, dns.RcodeRefused, query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassHESIOD }).Rcode)
	assert.Equal(t, dns.RcodeNotImplemented, query(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }).Rcode)
	newer := query(func(m *dns.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(1) })
	assert.Equal(t, dns.RcodeBadVers, newer.Rcode)
	assert.Empty(t, newer.Answer)
	outside := query(func(m *dns.Msg) { m.Question[0].Name = "www.example.com." })
	assert.Equal(t, dns.RcodeServerFailure, outside.Rcode, "there is no nameserver")
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		address := freeAddress(t)
		if network == "tcp" {
			listener, err := net.Listen("tcp4", address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
		} else {
			conn, err := net.ListenPacket("udp4", address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
		}
		err := New(Config{Address: address, ClusterDomain: "cluster.local"}).Run(t.Context())
		require.ErrorContains(t, err, "answering DNS queries at "+address)
		require.ErrorContains(t, err, "address already in use")
	}
}

func FuzzQueries(f *testing.F) {
	cluster := shop()
	add := func(name string, kind, class uint16) {
		m := new(dns.Msg)
		m.SetQuestion(name, kind)
		m.Question[0].Qclass = class
		for range 2 {
			packed, err := m.Pack()
			require.NoError(f, err)
			f.Add(packed)
			m.SetEdns0(512, true)
		}
	}
	f.Add(make([]byte, 12))
	for _, name := range []string{
		"cart.shop.svc.cluster.local.", "_http._tcp.cart.shop.svc.cluster.local.", "cluster.local.", ".",
		"svc.cluster.local.", "basket2.shop.svc.cluster.local.", "1-2-3-4.shop.pod.cluster.local.", "version.bind.",
		"1.0.64.127.in-addr.arpa.", `a\.b.shop.svc.cluster.local.`, `\000.svc.cluster.local.`,
		"many.shop.svc.cluster.local.", "_._.db.shop.svc.cluster.local.",
	} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			add(name, kind, dns.ClassINET)
			add(name, kind, dns.ClassCHAOS)
		}
	}
	known := podtest.Follow(f, cluster, func(types.NamespacedName) {})
	table := addresses.New()
	s := New(Config{
		ClusterDomain: "cluster.local", Service: known.Get, HasNamespace: known.HasNamespace, Owner: table.Service,
		Addresses: func(name types.NamespacedName) ([]netip.Addr, error) {
			address, err := table.Of(name)
			return []netip.Addr{address}, err
		},
		Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	f.Fuzz(func(t *testing.T, packed []byte) {
		query := new(dns.Msg)
		if query.Unpack(packed) != nil {
			return
		}
		for _, isTCP := range []bool{false, true} {
			response := s.respond(query, isTCP)
			packed, err := response.Pack()
			require.NoError(t, err)
			limit := dns.MaxMsgSize
			if !isTCP {
				limit = maxAnswer
			}
			require.LessOrEqual(t, len(packed), limit)
			require.NoError(t, new(dns.Msg).Unpack(packed))
			require.Equal(t, query.Id, response.Id)
		}
	})
}
