package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/endpoints"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
)

// recorder is a State whose changes are counted.
type recorder struct {
	*State
	mu      sync.Mutex
	changes []string
}

func record() *recorder {
	r := &recorder{}
	r.State = New(Config{
		Place: endpoints.Place{Node: "virtual-0", Zone: "zone-a"},
		Changed: func(name types.NamespacedName) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changes = append(r.changes, name.String())
		},
	})
	return r
}

// taken returns the Services that have changed since the last call, in order.
func (r *recorder) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.changes
	r.changes = nil
	slices.Sort(found)
	return found
}

// usable returns the endpoints of the port http, or nil if the Service does not exist.
func (r *recorder) usable(service string) []string {
	found := r.Get("shop", service)
	if found == nil {
		return nil
	}
	all := []string{}
	for _, at := range found.Usable(endpoints.Port{Name: "http", Protocol: corev1.ProtocolTCP}) {
		all = append(all, at.String())
	}
	return all
}

func (r *recorder) hasSlice(name string) bool {
	r.State.mu.RLock()
	defer r.State.mu.RUnlock()
	_, ok := r.slices[types.NamespacedName{Namespace: "shop", Name: name}]
	return ok
}

// onePort is a port whose endpoints have another number.
var onePort = []string{"http:80:8080"}

func TestServicesAndSlicesComeInAnyOrder(t *testing.T) {
	r := record()
	services, slices := r.serviceStore(), r.sliceStore()
	require.NoError(t, slices.Add(proxytest.Slice("cart-a", "shop/cart", onePort, "10.0.0.1")))
	assert.Equal(t, []string{"shop/cart"}, r.taken())
	assert.Nil(t, r.Get("shop", "cart"), "the Service is not known")
	require.NoError(t, services.Add(proxytest.Service("shop/cart", onePort...)))
	assert.Equal(t, []string{"10.0.0.1:8080"}, r.usable("cart"))
	require.NoError(t, slices.Add(proxytest.Slice("cart-b", "shop/cart", onePort, "10.0.0.2")))
	assert.Equal(t, []string{"10.0.0.1:8080", "10.0.0.2:8080"}, r.usable("cart"))
	require.NoError(t, slices.Update(proxytest.Slice("cart-a", "shop/cart", onePort, "10.0.0.3")))
	assert.Equal(t, []string{"10.0.0.2:8080", "10.0.0.3:8080"}, r.usable("cart"))
	assert.True(t, r.HasNamespace("shop"))
	assert.False(t, r.HasNamespace("cart"))

	require.NoError(t, services.Delete(proxytest.Service("shop/cart")))
	assert.Nil(t, r.Get("shop", "cart"))
	require.NoError(t, services.Add(proxytest.Service("shop/cart", onePort...)))
	assert.Equal(t, []string{"10.0.0.2:8080", "10.0.0.3:8080"}, r.usable("cart"), "the slices have stayed")
	require.NoError(t, slices.Delete(proxytest.Slice("cart-a", "shop/cart", nil)))
	require.NoError(t, slices.Delete(proxytest.Slice("cart-b", "shop/cart", nil)))
	require.NoError(t, slices.Delete(proxytest.Slice("cart-b", "shop/cart", nil)), "it is gone already")
	assert.Empty(t, r.usable("cart"))
	require.NoError(t, services.Delete(proxytest.Service("shop/cart")))
	assert.False(t, r.HasNamespace("shop"), "nothing is left")
	assert.Empty(t, r.services)
	assert.Empty(t, r.slices)
}

// A slice that a tenant moves from Service to Service must leave nothing behind.
func TestASliceBelongsToOneService(t *testing.T) {
	r := record()
	slices := r.sliceStore()
	for i := range 100 {
		require.NoError(t, slices.Update(proxytest.Slice("a", fmt.Sprintf("shop/cart-%d", i), onePort, "10.0.0.1")))
	}
	assert.Len(t, r.services["shop"], 1)
	r.taken()
	require.NoError(t, slices.Update(proxytest.Slice("a", "shop/web", onePort, "10.0.0.1")))
	assert.Equal(t, []string{"shop/cart-99", "shop/web"}, r.taken(), "both are affected")
	unlabeled := proxytest.Slice("a", "shop/web", onePort, "10.0.0.1")
	unlabeled.Labels = nil
	require.NoError(t, slices.Update(unlabeled))
	assert.Empty(t, r.services)
}

func TestAListReplacesWhatIsThere(t *testing.T) {
	r := record()
	services, slices := r.serviceStore(), r.sliceStore()
	require.ErrorContains(t, r.Missing(), "Services")
	require.NoError(t, services.Replace(nil, "1"))
	require.ErrorContains(t, r.Missing(), "EndpointSlices")
	require.NoError(t, slices.Replace(nil, "1"))
	require.NoError(t, r.Missing())

	require.NoError(t, services.Add(proxytest.Service("shop/old", onePort...)))
	require.NoError(t, services.Add(proxytest.Service("shop/cart", onePort...)))
	require.NoError(t, slices.Add(proxytest.Slice("cart-a", "shop/cart", onePort, "10.0.0.1")))
	require.NoError(t, slices.Add(proxytest.Slice("cart-b", "shop/cart", onePort, "10.0.0.2")))
	r.taken()
	require.NoError(t, services.Replace([]any{
		proxytest.Service("shop/cart", onePort...), proxytest.Service("shop/new"),
	}, "2"))
	assert.Equal(t, []string{"shop/cart", "shop/new", "shop/old"}, r.taken())
	assert.Nil(t, r.Get("shop", "old"))
	assert.NotNil(t, r.Get("shop", "new"))
	assert.Equal(t, []string{"10.0.0.1:8080", "10.0.0.2:8080"}, r.usable("cart"))
	require.NoError(t, slices.Replace([]any{
		proxytest.Slice("cart-a", "shop/cart", onePort, "10.0.0.3"),
		proxytest.Slice("new-a", "shop/new", onePort, "10.0.0.4"),
	}, "2"))
	assert.Equal(t, []string{"shop/cart", "shop/new"}, r.taken())
	assert.Equal(t, []string{"10.0.0.3:8080"}, r.usable("cart"))
}

func TestObjectsOfAnotherTypeAreRefused(t *testing.T) {
	r := record()
	for _, store := range []interface {
		Add(any) error
		Delete(any) error
		Replace([]any, string) error
	}{r.serviceStore(), r.sliceStore()} {
		pod := &corev1.Pod{}
		require.ErrorContains(t, store.Add(pod), "*v1.Pod")
		require.ErrorContains(t, store.Delete(pod), "*v1.Pod")
		require.ErrorContains(t, store.Replace([]any{pod}, "1"), "*v1.Pod")
	}
	require.ErrorContains(t, r.Missing(), "Services")
}

func TestServicesAreKeptInAShortForm(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Service)
		want   Service
	}{
		"a plain one": {func(*corev1.Service) {}, Service{}},
		"a headless one": {
			func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.PublishNotReadyAddresses = "None", true },
			Service{Kind: Headless, PublishNotReady: true},
		},
		"another name": {
			func(s *corev1.Service) {
				s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com"}
			},
			Service{Kind: ExternalName, ExternalName: "db.example.com"},
		},
		"local traffic": {
			func(s *corev1.Service) {
				s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
			},
			Service{LocalOnly: true},
		},
		"affinity with a timeout": {
			func(s *corev1.Service) {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
					ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))},
				}
			},
			Service{Affinity: time.Minute},
		},
		"IPv6 only": {
			func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} },
			Service{IPv6Only: true},
		},
		"IPv6, and then IPv4": {
			func(s *corev1.Service) {
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
			},
			Service{},
		},
		"affinity without a timeout": {
			func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP },
			Service{Affinity: 3 * time.Hour},
		},
		"ports": {
			func(s *corev1.Service) {
				s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53}}
			},
			Service{Ports: []endpoints.Port{
				{Protocol: corev1.ProtocolTCP, Number: 80}, {Name: "dns", Protocol: corev1.ProtocolUDP, Number: 53},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			service := proxytest.Service("shop/cart")
			tc.change(service)
			tc.want.Name, tc.want.exists = types.NamespacedName{Namespace: "shop", Name: "cart"}, true
			assert.Equal(t, &tc.want, shorten(service))
		})
	}
}

func TestTheAPIServerMayHaveAnotherPortInThePod(t *testing.T) {
	r := record()
	r.config.APIServerPort = 64443
	for name, want := range map[string]uint16{"default/kubernetes": 64443, "shop/kubernetes": 443, "default/cart": 443} {
		require.NoError(t, r.serviceStore().Add(proxytest.Service(name, "https:443", "metrics:9090")))
		namespace, name, _ := strings.Cut(name, "/")
		require.NoError(t, r.sliceStore().Add(
			proxytest.Slice(namespace+name, namespace+"/"+name, []string{"https:443:6443"}, "10.0.0.1")))
		one := r.Get(namespace, name)
		assert.Equal(t, want, one.Ports[0].Number)
		assert.Equal(t, uint16(9090), one.Ports[1].Number)
		assert.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:6443")}, one.Usable(one.Ports[0]))
	}
	require.NoError(t, r.serviceStore().Add(proxytest.Service("default/kubernetes")), "it may have no port")
}

func TestAllPortsOfAllEndpoints(t *testing.T) {
	r := record()
	require.NoError(t, r.serviceStore().Add(proxytest.Service("shop/cart")))
	slice := proxytest.Slice("a", "shop/cart", []string{"a:1", "b:2"}, "10.0.0.1", "10.0.0.2")
	slice.Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: new(false)}
	require.NoError(t, r.sliceStore().Add(slice))
	var want []netip.AddrPort
	for _, text := range []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.2:2"} {
		want = append(want, netip.MustParseAddrPort(text))
	}
	assert.Equal(t, want, r.Get("shop", "cart").All())
	assert.Len(t, slices.Collect(r.Get("shop", "cart").Hosts()), 1)
}
