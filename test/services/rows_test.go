package services

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/services/peer"
	"github.com/spillway-k8s/spillway/test/services/table"
	"github.com/spillway-k8s/spillway/test/system"
)

// Ports of the servers.
const (
	httpPort = 8080
	echoPort = 7007
)

// players play the rows of the table.
var players = map[string]func(*testing.T, *cell){
	table.ClusterIP:       playClusterIP,
	table.BothPlaces:      playClusterIP,
	table.Number:          playNumber,
	table.NumericPort:     playNumericPort,
	table.Headless:        playHeadless,
	table.StatefulSet:     playStatefulSet,
	table.UDP:             playUDP,
	table.Affinity:        playAffinity,
	table.LocalPolicy:     playLocalPolicy,
	table.ExternalName:    playExternalName,
	table.NoSelector:      playNoSelector,
	table.APIServer:       playAPIServer,
	table.Searches:        playSearches,
	table.Later:           playLater,
	table.Deleted:         playDeleted,
	table.Rollout:         playRollout,
	table.Idle:            playIdle,
	table.HalfClosed:      playHalfClosed,
	table.Itself:          playItself,
	table.RefusingAddress: playRefusingAddress,
	table.NoEndpoints:     playNoEndpoints,
	table.UnknownName:     playUnknownName,
	table.VNodeKilled:     playVNodeKilled,
	table.VNodeReplaced:   playClusterIP,
}

// createService creates the Service of the cell. Its port 80 leads to the port http of the servers.
func (c *cell) createService(t *testing.T, edit func(*corev1.ServiceSpec)) *corev1.Service {
	t.Helper()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: corev1.ServiceSpec{
		Selector: c.selector,
		Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}}
	if edit != nil {
		edit(&service.Spec)
	}
	services := c.Client().CoreV1().Services(shop)
	created, err := services.Create(t.Context(), service, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = services.Delete(context.Background(), c.name, metav1.DeleteOptions{}) }) // It may be gone.
	return created
}

// createEndpoint creates an endpoint of the cell's Service, which has no selector.
func (c *cell) createEndpoint(t *testing.T, address string, port int32) {
	t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: c.name, Labels: map[string]string{discoveryv1.LabelServiceName: c.name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(port)}},
	}
	slices := c.Client().DiscoveryV1().EndpointSlices(shop)
	_, err := slices.Create(t.Context(), slice, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = slices.Delete(context.Background(), c.name, metav1.DeleteOptions{}) }) // It may be gone.
}

// withoutSelector makes a Service one whose endpoints are created by hand.
func withoutSelector(spec *corev1.ServiceSpec) { spec.Selector = nil }

func (c *cell) url() string { return "http://" + c.name }

// fullName is the name that is asked for before the Service exists, or when it does not exist any more: the test's
// resolver fails for names outside of the cluster, and the short name is tried as one in the end.
func (c *cell) fullName() string { return c.name + "." + shop + ".svc.cluster.local" }

// get returns a call of a URL.
func (c *cell) get(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := ask[peer.Answer](ctx, c.from, "get", url)
		return err
	}
}

// answered waits until all servers have answered requests to the URL, and no other has.
func (c *cell) answered(t *testing.T, url string, by []pod) {
	t.Helper()
	found := map[string]bool{}
	c.eventually(t, "all endpoints to answer", func(ctx context.Context) error {
		load, err := ask[peer.Load](ctx, c.from, "load", url, "--for=500ms")
		if err != nil {
			return err
		}
		for host := range load.Hosts {
			found[host] = true
		}
		for _, p := range by {
			if !found[p.Name] {
				return fmt.Errorf("%s has not answered, but %v: %v", p.Name, found, load.Errors)
			}
		}
		return nil
	})
	assert.Len(t, found, len(by), "%v", found)
}

func playClusterIP(t *testing.T, c *cell) {
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
	if c.works() {
		c.answered(t, c.url(), c.to)
		c.checkSource(t)
	}
}

// checkSource checks whose address the endpoints see: in mode routed that of a node, otherwise that of the client.
func (c *cell) checkSource(t *testing.T) {
	t.Helper()
	answer, err := ask[peer.Answer](t.Context(), c.from, "get", c.url())
	require.NoError(t, err)
	host, _, err := net.SplitHostPort(answer.From)
	require.NoError(t, err)
	isOwn := c.from.cloudName == "" || c.mode != policy.ServicesRouted
	assert.Equal(t, isOwn, host == c.from.Status.PodIP, "%s answers %s", answer.Host, answer.From)
}

func playNumber(t *testing.T, c *cell) {
	service := c.createService(t, nil)
	c.settles(t, c.get("http://"+service.Spec.ClusterIP))
}

func playNumericPort(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) {
		spec.Ports = []corev1.ServicePort{{Port: 8000, TargetPort: intstr.FromInt32(httpPort)}}
	})
	c.settles(t, c.get(c.url()+":8000"))
}

func playHeadless(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) { spec.ClusterIP = corev1.ClusterIPNone })
	c.settles(t, c.get(c.url()+":8080"))
	var want []string
	for _, p := range c.to {
		want = append(want, p.Status.PodIP)
	}
	slices.Sort(want)
	c.eventually(t, "all addresses", func(ctx context.Context) error {
		found, err := ask[[]string](ctx, c.from, "lookup", c.name)
		if err == nil && !slices.Equal(found, want) {
			err = fmt.Errorf("%v, want %v", found, want)
		}
		return err
	})
}

func playStatefulSet(t *testing.T, c *cell) {
	for _, p := range c.to {
		name := p.Name + "." + p.Spec.Subdomain
		c.settles(t, c.get("http://"+name+":8080"))
		answer, err := ask[peer.Answer](t.Context(), c.from, "get", "http://"+name+"."+shop+":8080")
		require.NoError(t, err)
		assert.Equal(t, p.Name, answer.Host)
	}
}

func playUDP(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) {
		spec.Ports = []corev1.ServicePort{{Port: 7, TargetPort: intstr.FromString("echo-udp"), Protocol: corev1.ProtocolUDP}}
	})
	c.settles(t, func(ctx context.Context) error {
		_, err := ask[peer.Answer](ctx, c.from, "udp", c.name+":7")
		return err
	})
}

func playAffinity(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) { spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	c.settles(t, c.get(c.url()))
	if !c.works() {
		return
	}
	hosts, requests := map[string]bool{}, 0
	c.eventually(t, "ten requests", func(ctx context.Context) error {
		load, err := ask[peer.Load](ctx, c.from, "load", c.url(), "--for=1s")
		if err != nil {
			return err
		}
		for host := range load.Hosts {
			hosts[host] = true
		}
		if requests += load.Requests; requests < 10 {
			return fmt.Errorf("%d requests", requests)
		}
		return nil
	})
	assert.Len(t, hosts, 1, "%v", hosts)
}

func playLocalPolicy(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) {
		spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	})
	c.settles(t, c.get(c.url()))
	if !c.works() {
		return
	}
	by := c.to
	if c.outcome == table.OneNode {
		// The machine's kube-proxy is that of the first node.
		by = slices.DeleteFunc(slices.Clone(by), func(p pod) bool { return p.Spec.NodeName != system.LocalNode(0) })
	}
	c.answered(t, c.url(), by)
}

func playExternalName(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) {
		*spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: outsideName}
	})
	c.settles(t, c.get(c.url()+":"+outsidePort))
}

func playNoSelector(t *testing.T, c *cell) {
	c.createService(t, withoutSelector)
	c.createEndpoint(t, c.to[0].Status.PodIP, httpPort)
	c.settles(t, c.get(c.url()))
	if c.works() {
		c.answered(t, c.url(), c.to[:1])
	}
}

func playAPIServer(t *testing.T, c *cell) {
	c.settles(t, func(ctx context.Context) error {
		// Discovery is for authenticated users.
		found, err := ask[metav1.APIVersions](ctx, c.from, "api", "/api")
		if err == nil && !slices.Contains(found.Versions, "v1") {
			err = fmt.Errorf("the API server has the versions %v", found.Versions)
		}
		return err
	})
}

func playSearches(t *testing.T, c *cell) {
	c.createService(t, nil)
	for _, domain := range []string{"", "." + shop, "." + shop + ".svc", "." + shop + ".svc.cluster.local"} {
		c.settles(t, c.get(c.url()+domain))
	}
}

func playLater(t *testing.T, c *cell) {
	_, err := ask[[]string](t.Context(), c.from, "lookup", c.fullName())
	require.ErrorContains(t, err, "no such host")
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
}

func playDeleted(t *testing.T, c *cell) {
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
	require.NoError(t, c.Client().CoreV1().Services(shop).Delete(t.Context(), c.name, metav1.DeleteOptions{}))
	c.eventually(t, "the name to be gone", func(ctx context.Context) error {
		return matches(table.NoName, c.get("http://"+c.fullName())(ctx))
	})
}

func playIdle(t *testing.T, c *cell) {
	c.createService(t, echo)
	address := net.JoinHostPort(c.name, strconv.Itoa(echoPort))
	c.settles(t, func(ctx context.Context) error {
		_, err := ask[string](ctx, c.from, "hold", address, "--for=0s")
		return err
	})
	if c.works() {
		_, err := ask[string](t.Context(), c.from, "hold", address, "--for="+idle.String())
		assert.NoError(t, err)
	}
}

// echo makes the servers' echo the port of a Service.
func echo(spec *corev1.ServiceSpec) {
	spec.Ports = []corev1.ServicePort{{Port: echoPort, TargetPort: intstr.FromString("echo")}}
}

func playHalfClosed(t *testing.T, c *cell) {
	c.createService(t, echo)
	c.settles(t, func(ctx context.Context) error {
		received, err := ask[string](ctx, c.from, "half", net.JoinHostPort(c.name, strconv.Itoa(echoPort)))
		if err == nil && received != "all of it" {
			err = fmt.Errorf("received %q", received)
		}
		return err
	})
}

func playItself(t *testing.T, c *cell) {
	c.from, c.selector = c.to[0], map[string]string{"statefulset.kubernetes.io/pod-name": c.to[0].Name}
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
}

func playRefusingAddress(t *testing.T, c *cell) {
	c.createService(t, withoutSelector)
	c.createEndpoint(t, c.to[0].Status.PodIP, 9)
	c.settles(t, c.get(c.url()))
}

func playNoEndpoints(t *testing.T, c *cell) {
	c.createService(t, func(spec *corev1.ServiceSpec) { spec.Selector = map[string]string{"servers": "none"} })
	c.settles(t, c.get(c.url()))
}

func playUnknownName(t *testing.T, c *cell) {
	c.settles(t, c.get("http://"+c.fullName()))
}
