package state

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/spillway-k8s/spillway/proxy/endpoints"
)

// Kind says how DNS answers for a Service.
type Kind uint8

const (
	// ClusterIP Services have one address, behind which are their endpoints. NodePort and LoadBalancer ones do too.
	ClusterIP Kind = iota
	// Headless Services have the addresses of their endpoints.
	Headless
	// ExternalName Services are another name.
	ExternalName
)

// Service is what is kept of a Service, with its endpoints. It does not change: each change makes another one.
type Service struct {
	Name types.NamespacedName
	Kind Kind
	// ExternalName is the other name, without a dot at its end.
	ExternalName string
	Ports        []endpoints.Port
	// Affinity is how long the next connection goes to the endpoint of the last one. Zero: it does not.
	Affinity time.Duration
	// LocalOnly is internalTrafficPolicy: Local.
	LocalOnly bool
	// PublishNotReady is publishNotReadyAddresses.
	PublishNotReady bool
	// IPv6Only Services have no IPv4 address: no program of the Pod can reach them.
	IPv6Only bool

	// exists is false if only slices are known: they can come first.
	exists bool
	slices []*endpoints.Slice
}

// Usable returns the endpoints that connections to a port of the Service may use now.
func (s *Service) Usable(port endpoints.Port) []netip.AddrPort {
	return endpoints.Usable(s.slices, port.Name, port.Protocol, s.LocalOnly)
}

// Direct returns the addresses of the endpoints, if a client can use them instead of an address of the Service: all its
// ports have the same endpoints, and the same numbers there. Otherwise it returns nil.
func (s *Service) Direct() []netip.Addr {
	var found []netip.Addr
	for i, port := range s.Ports {
		var same []netip.Addr
		for _, endpoint := range s.Usable(port) {
			if endpoint.Port() != port.Number {
				return nil
			}
			same = append(same, endpoint.Addr())
		}
		if i > 0 && !slices.Equal(found, same) {
			return nil
		}
		found = same
	}
	return found
}

// Hosts yields the endpoints that DNS shows if the Service is headless.
func (s *Service) Hosts() iter.Seq[endpoints.Host] {
	return endpoints.Hosts(s.slices, s.PublishNotReady)
}

// All returns each port of each endpoint in every state.
func (s *Service) All() []netip.AddrPort {
	var found []netip.AddrPort
	for host := range endpoints.Hosts(s.slices, true) {
		for _, port := range host.Ports {
			found = append(found, netip.AddrPortFrom(host.Address, port.Number))
		}
	}
	return found
}

// apiServer is the Service of the API server.
var apiServer = types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}

// newService returns what is kept of a Service. The first port of that of the API server may be another one in the Pod:
// endpoints are found by the name of the port.
func (s *State) newService(from *corev1.Service) *Service {
	to := shorten(from)
	if port := s.config.APIServerPort; port != 0 && to.Name == apiServer && len(to.Ports) > 0 {
		to.Ports[0].Number = port
	}
	return to
}

func shorten(from *corev1.Service) *Service {
	policy := ptr.Deref(from.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	s := &Service{
		Name:            types.NamespacedName{Namespace: unique.Make(from.Namespace).Value(), Name: from.Name},
		LocalOnly:       policy == corev1.ServiceInternalTrafficPolicyLocal,
		PublishNotReady: from.Spec.PublishNotReadyAddresses,
		IPv6Only:        slices.Equal(from.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv6Protocol}),
		exists:          true,
	}
	switch {
	case from.Spec.Type == corev1.ServiceTypeExternalName:
		s.Kind, s.ExternalName = ExternalName, from.Spec.ExternalName
	case from.Spec.ClusterIP == corev1.ClusterIPNone:
		s.Kind = Headless
	}
	if from.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		seconds := corev1.DefaultClientIPServiceAffinitySeconds
		if c := from.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
			seconds = ptr.Deref(c.ClientIP.TimeoutSeconds, seconds)
		}
		s.Affinity = time.Duration(seconds) * time.Second
	}
	for _, port := range from.Spec.Ports {
		protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
		s.Ports = append(s.Ports, endpoints.Port{
			Name: unique.Make(port.Name).Value(), Protocol: unique.Make(protocol).Value(), Number: uint16(port.Port),
		})
	}
	return s
}
