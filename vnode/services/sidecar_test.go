package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	proxy "github.com/spillway-k8s/spillway/proxy/app"
	proxyconfig "github.com/spillway-k8s/spillway/proxy/config"
	proxydns "github.com/spillway-k8s/spillway/proxy/dns"
)

// The sidecars of these tests are the program proxy, and their server is this one. The programs never import each
// other: what one sends and the other understands is tested here.

// sidecar is the proxy of a Pod.
type sidecar struct {
	testing.TB
	// kubeconfig is its file, dns where it answers.
	kubeconfig, dns string
	log             *lockedBuffer
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// freePort returns a port that no program uses on any address.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().(*net.TCPAddr).Port
}

// sidecar runs the proxy of a Pod with a kubeconfig until the test ends.
func (w *world) sidecar(kubeconfig []byte) *sidecar {
	w.Helper()
	s := &sidecar{
		TB: w.TB, kubeconfig: filepath.Join(w.TempDir(), "kubeconfig"), log: &lockedBuffer{},
		dns: fmt.Sprintf("127.0.0.1:%d", freePort(w)),
	}
	s.mount(kubeconfig)
	config := proxyconfig.Default()
	config.Kubeconfig, config.Node, config.DNSAddress = s.kubeconfig, nodeName, s.dns
	config.ServerService = "spillway-system/" + ServiceName
	require.NoError(w, config.Validate())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- proxy.New(config, slog.New(slog.NewTextHandler(s.log, nil))).Run(ctx) }()
	w.Cleanup(func() {
		stop()
		assert.NoError(w, <-ended)
	})
	return s
}

// sidecarOf runs the proxy of a Pod, and waits until it is ready.
func (w *world) sidecarOf(pod *corev1.Pod) *sidecar {
	w.Helper()
	s := w.sidecar(w.kubeconfig(pod))
	require.Eventually(w, func() bool { return s.check() == nil }, timeout, tick)
	return s
}

func (w *world) kubeconfig(pod *corev1.Pod) []byte {
	w.Helper()
	kubeconfig, err := w.server.Kubeconfig(pod)
	require.NoError(w, err)
	return kubeconfig
}

// mount replaces the kubeconfig, as a kubelet does it.
func (s *sidecar) mount(kubeconfig []byte) {
	s.Helper()
	require.NoError(s, os.WriteFile(s.kubeconfig+".new", kubeconfig, 0o600))
	require.NoError(s, os.Rename(s.kubeconfig+".new", s.kubeconfig))
}

// check is the startup probe.
func (s *sidecar) check() error { return proxydns.Check(s.Context(), s.dns) }

// ask returns what DNS answers for a name below svc.cluster.local: the code, and the addresses.
func (s *sidecar) ask(name string) (code string, addresses []string) {
	s.Helper()
	query := new(dns.Msg)
	query.SetQuestion(name+".svc.cluster.local.", dns.TypeA)
	response, _, err := (&dns.Client{Net: "tcp", Timeout: timeout}).ExchangeContext(s.Context(), query, s.dns)
	require.NoError(s, err)
	for _, record := range response.Answer {
		addresses = append(addresses, record.(*dns.A).A.String())
	}
	return dns.RcodeToString[response.Rcode], addresses
}

// sees waits until a name has, or has not, an address.
func (s *sidecar) sees(name string, want bool) {
	s.Helper()
	require.Eventually(s, func() bool {
		code, found := s.ask(name)
		return want && len(found) > 0 || !want && code == "NXDOMAIN"
	}, timeout, tick, name)
}

// call connects to a Service, and returns the endpoint that answers.
func (s *sidecar) call(name string, port int) (string, error) {
	s.Helper()
	code, addresses := s.ask(name)
	if len(addresses) != 1 || !netip.MustParsePrefix("127.64.0.0/10").Contains(netip.MustParseAddr(addresses[0])) {
		return "", fmt.Errorf("%s: %s %v is not one loopback address", name, code, addresses)
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(addresses[0], strconv.Itoa(port)), timeout)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// endpoints accept connections at a port of all addresses until the test ends. Each says at which it was reached.
func endpoints(t testing.TB, address string) {
	t.Helper()
	listener, err := net.Listen("tcp4", address)
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.LocalAddr().(*net.TCPAddr).IP.String())
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		done.Wait()
	})
}

// cart returns the Service shop/cart with a port, and its slice with a port of some endpoints.
func (w *world) cart(port, target int, addresses ...string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	service := w.service("shop", "cart", func(s *corev1.Service) { s.Spec.Ports[0].Port = int32(port) })
	slice := w.slice("shop", "cart", "cart-x", len(addresses))
	number := int32(target)
	slice.Ports[0].Port = &number
	for i, address := range addresses {
		slice.Endpoints[i].Addresses = []string{address}
	}
	return service, slice
}

// putCart puts shop/cart with endpoints that answer, and returns its port.
func (w *world) putCart(addresses ...string) (port int) {
	w.Helper()
	port, target := freePort(w), freePort(w)
	for _, address := range addresses {
		endpoints(w, net.JoinHostPort(address, strconv.Itoa(target)))
	}
	service, slice := w.cart(port, target, addresses...)
	w.put(service)
	w.put(slice)
	return port
}

func TestASidecarReachesAService(t *testing.T) {
	w := newWorld(t)
	port := w.putCart("127.0.9.1")
	s := w.sidecarOf(w.pod("shop", "front"))
	answer, err := s.call("cart.shop", port)
	require.NoError(t, err)
	assert.Equal(t, "127.0.9.1", answer)
	code, found := s.ask("none.shop")
	assert.Equal(t, "NXDOMAIN", code)
	assert.Empty(t, found)
	gone := w.service("shop", "cart")
	w.remove(gone)
	s.sees("cart.shop", false)
}

func TestASidecarTriesTheNextEndpointIfOneRefuses(t *testing.T) {
	w := newWorld(t)
	port, target := freePort(t), freePort(t)
	endpoints(t, fmt.Sprintf("127.0.9.7:%d", target))
	service, slice := w.cart(port, target, "127.0.9.2", "127.0.9.3", "127.0.9.4", "127.0.9.5", "127.0.9.6", "127.0.9.7")
	w.put(service)
	w.put(slice)
	s := w.sidecarOf(w.pod("shop", "front"))
	for range 20 {
		answer, err := s.call("cart.shop", port)
		require.NoError(t, err)
		require.Equal(t, "127.0.9.7", answer)
	}
}

func TestASidecarReachesAServiceWith5000Endpoints(t *testing.T) {
	w := newWorld(t)
	port, target := freePort(t), freePort(t)
	endpoints(t, fmt.Sprintf("0.0.0.0:%d", target))
	const each = 100 // That many are in one EndpointSlice.
	for i := range 50 {
		var addresses []string
		for j := range each {
			addresses = append(addresses, fmt.Sprintf("127.10.%d.%d", i, j+1))
		}
		service, slice := w.cart(port, target, addresses...)
		slice.Name = fmt.Sprintf("cart-%d", i)
		w.put(slice)
		if i == 0 {
			w.put(service)
		}
	}
	s := w.sidecarOf(w.pod("shop", "front"))
	reached := map[string]bool{}
	for range 200 {
		answer, err := s.call("cart.shop", port)
		require.NoError(t, err)
		reached[answer] = true
	}
	assert.Greater(t, len(reached), 150, "connections go to random ones")
}

func TestTheSidecarOfAForeignPodIsRefused(t *testing.T) {
	w := newWorld(t)
	here := w.pod("shop", "front")
	another := *here
	another.UID = "uid-of-its-predecessor"
	elsewhere := *here
	elsewhere.Spec.NodeName = "virtual-node-cci-1"
	otherKey, err := Kubeconfig(w.server.addresses(), w.server.secret.Load().content[secretCA],
		Key(strings.Repeat("x", keyLength)).Token(PodOf(here)))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		kubeconfig []byte
		want       string
	}{
		"a Pod that is gone":        {w.kubeconfig(&another), "401 Unauthorized: the Pod of the token is not on"},
		"a Pod of a node of others": {w.kubeconfig(&elsewhere), "503 Service Unavailable: node virtual-node-cci-1"},
		"a token of another key":    {otherKey, "401 Unauthorized: the token is not one of this server"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sidecar(tc.kubeconfig)
			require.Eventually(t, func() bool {
				err := s.check()
				return err != nil && strings.Contains(err.Error(), tc.want)
			}, timeout, tick)
			code, _ := s.ask("kubernetes.default")
			assert.Equal(t, "SERVFAIL", code, "it knows nothing")
		})
	}
}

// The keys of the servers are replaced. Sidecars keep what they know, and go on when they get their next kubeconfig.
func TestASidecarGoesOnWithNewKeys(t *testing.T) {
	w := newWorld(t)
	port := w.putCart("127.0.9.1")
	pod := w.pod("shop", "front")
	s := w.sidecarOf(pod)
	content, err := newContent()
	require.NoError(t, err)
	require.NoError(t, w.server.useSecret(content))
	w.put(w.service("shop", "later"))
	// The certificate of the server is another one too.
	require.Eventually(t, func() bool {
		return strings.Contains(s.log.String(), "no server answers, Services stay as they are")
	}, timeout, tick)
	_, err = s.call("cart.shop", port)
	require.NoError(t, err)
	code, _ := s.ask("later.shop")
	require.Equal(t, "NXDOMAIN", code, "nothing reaches it with the former key")
	s.mount(w.kubeconfig(pod))
	s.sees("later.shop", true)
}

// The token of a Pod that has ended is worth nothing, also in a sidecar that still runs.
func TestASidecarOfAPodThatHasEndedLearnsNothingMore(t *testing.T) {
	w := newWorld(t)
	port := w.putCart("127.0.9.1")
	pod := w.pod("shop", "front")
	s := w.sidecarOf(pod)
	w.pods.Delete(pod)
	require.Eventually(t, func() bool {
		return strings.Contains(s.log.String(), "the Pod of the token is not on its node, or has finished")
	}, timeout, tick)
	w.put(w.service("shop", "later"))
	code, _ := s.ask("later.shop")
	assert.Equal(t, "NXDOMAIN", code)
	_, err := s.call("cart.shop", port)
	require.NoError(t, err, "what it knows it keeps")
}

func TestASidecarSeesOnlyAllowedNamespaces(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Namespaces = []string{"shared"} })
	for _, namespace := range []string{"shop", "shared", "secret", "default"} {
		w.put(w.service(namespace, "cart"))
	}
	s := w.sidecarOf(w.pod("shop", "front"))
	for name, want := range map[string]string{
		"cart.shop": "NOERROR", "cart.shared": "NOERROR", "kubernetes.default": "NOERROR",
		"cart.secret": "NXDOMAIN", "cart.default": "NXDOMAIN",
	} {
		code, _ := s.ask(name)
		assert.Equal(t, want, code, name)
	}
}

func TestASidecarGoesOnWhereItsStreamWasCut(t *testing.T) {
	w := newWorld(t)
	for i := range 500 {
		w.put(w.service("shop", fmt.Sprintf("many-%d", i)))
	}
	s := w.sidecarOf(w.pod("shop", "front"))
	// A client in Go lists again after a stream on which nothing came.
	w.put(w.service("shop", "members", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }))
	w.put(w.slice("shop", "members", "members-x", 1))
	s.sees("members.shop", true)
	before := w.sent()
	w.server.eachNode((*node).endStreams)
	w.put(w.service("shop", "later"))
	s.sees("later.shop", true)
	assert.Less(t, w.sent()-before, 10.0, "it gets what is new, and not everything again")
}

// again returns a world with another server of the same cluster: with its Secret, its Pods and its Node.
func (w *world) again(address string) *world {
	w.Helper()
	other := newCluster(w.TB, func(c *Config) {
		c.Address, c.Own, c.Client = address, address, w.server.config.Client
	})
	other.pods, other.nodes, other.version = w.pods, w.nodes, w.version
	list := func(r *resources) (all []any) {
		objects, _, _ := r.snapshot()
		for _, object := range objects {
			var one any = &corev1.Service{}
			if r == w.server.slices.resources {
				one = &discoveryv1.EndpointSlice{}
			}
			require.NoError(w, json.Unmarshal(object.json, one))
			all = append(all, one)
		}
		return all
	}
	version := strconv.FormatUint(w.version, 10)
	require.NoError(w, other.server.services.resources.Replace(list(w.server.services.resources), version))
	require.NoError(w, other.server.slices.resources.Replace(list(w.server.slices.resources), version))
	return other
}

func TestASidecarKeepsWhatItKnowsWhileTheServerRestarts(t *testing.T) {
	w := newWorld(t)
	port := w.putCart("127.0.9.1")
	s := w.sidecarOf(w.pod("shop", "front"))
	address := w.server.config.Address
	w.stop()
	w.done.Wait()
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "connection refused") }, timeout, tick)
	require.NoError(t, s.check(), "a restart of the container would not help")
	_, err := s.call("cart.shop", port)
	require.NoError(t, err)
	restarted := w.again(address)
	restarted.put(restarted.service("shop", "later"))
	restarted.remove(w.service("shop", "cart"))
	restarted.run()
	s.sees("later.shop", true)
	s.sees("cart.shop", false)
}

// The node of a Pod goes to another process, which has the second address of the kubeconfig.
func TestASidecarFollowsItsNodeToAnotherServer(t *testing.T) {
	w := newWorld(t)
	second := w.again(fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	slice := w.slice("spillway-system", ServiceName, "servers-x", 1)
	_, text, err := net.SplitHostPort(second.server.config.Address)
	require.NoError(t, err)
	number, err := strconv.ParseInt(text, 10, 32)
	require.NoError(t, err)
	port := int32(number)
	slice.Ports[0].Port, slice.Endpoints[0].Addresses = &port, []string{"127.0.0.1"}
	w.put(slice)
	second.run()
	second.leave()
	pod := w.pod("shop", "front")
	require.Contains(t, string(w.kubeconfig(pod)), second.server.config.Address)
	s := w.sidecarOf(pod)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	w.leave()
	second.runNode(ctx)
	second.put(second.service("shop", "later"))
	s.sees("later.shop", true)
	assert.Contains(t, s.log.String(), "address="+second.server.config.Address)
}

// A Pod that does not read its stream does not delay the sidecars of others.
func TestAPodThatDoesNotReadDelaysNoSidecar(t *testing.T) {
	w := newCluster(t)
	w.server.writeLimit = 2 * time.Second
	w.follow(w.service("default", "kubernetes"))
	w.run()
	s := w.sidecarOf(w.pod("shop", "front"))
	w.raw(w.pod("shop", "stuck"))
	w.flood()
	w.put(w.service("shop", "later"))
	began := time.Now()
	s.sees("later.shop", true)
	t.Logf("the sidecar sees a Service after %s", time.Since(began))
	// On a slow machine the sidecar is cut off too. It continues with another stream.
	require.Eventually(t, func() bool { return w.cutOff(causeBlocked) >= 1 }, timeout, tick)
	require.NotContains(t, s.log.String(), "no server answers")
}
