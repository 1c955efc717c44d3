package translate

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
)

// ServicesConfig is how Pods reach the Services of the cluster.
type ServicesConfig struct {
	// Mode is that of Pods without the annotation. Empty means off.
	Mode policy.ServicesMode `json:"mode,omitempty"`
	// ProxyImage is the image of the sidecar of mode proxy, KubeProxyImage that of mode kube-proxy. Without its image a
	// mode is not set up.
	ProxyImage     string `json:"proxyImage,omitempty"`
	KubeProxyImage string `json:"kubeProxyImage,omitempty"`
	// Nameservers are the IP addresses of the name servers that the sidecar of mode proxy asks for names outside of the
	// cluster. Empty means ClusterDNS.
	Nameservers []string `json:"nameservers,omitempty"`
	// Server is the Service of the servers that the sidecars connect to, as NAMESPACE/NAME.
	Server string `json:"server,omitempty"`
}

// validateServices validates Services. path is that of the field that holds this part of the configuration (pods).
func (c Config) validateServices(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, server := range c.Services.Nameservers {
		if net.ParseIP(server) == nil {
			errs = append(errs, field.Invalid(path.Child("proxy", "nameservers").Index(i), server,
				"must be an IP address"))
		}
	}
	mode := cmp.Or(c.Services.Mode, policy.ServicesOff)
	if !slices.Contains(policy.ServicesModes(), mode) {
		errs = append(errs, field.NotSupported(path.Child("services"), mode, policy.ServicesModes()))
	} else if err := c.offers(mode); err != nil {
		errs = append(errs, field.Invalid(path.Child("services"), mode, err.Error()))
	}
	return errs
}

// offers returns what the virtual node lacks for a mode, nil if it has everything.
func (c Config) offers(mode policy.ServicesMode) error {
	switch {
	case mode.HasSidecar() && c.Version == policy.CCI1:
		return errors.New("needs policy.cciVersion 2.0: CCI 1.0 has no sidecars")
	case mode == policy.ServicesProxy && c.Services.ProxyImage == "":
		return errors.New("needs pods.proxy.image, the image of the sidecar")
	case mode == policy.ServicesKubeProxy && c.Services.KubeProxyImage == "":
		return errors.New("needs pods.kubeProxy.image, the image of kube-proxy")
	case mode == policy.ServicesProxy && len(c.nameservers()) == 0:
		return errors.New("needs pods.proxy.nameservers or pods.clusterDNS, for names outside of the cluster")
	case mode == policy.ServicesProxy && c.ClusterDomain == "":
		return errors.New("needs pods.clusterDomain, the domain of the names of Services")
	case reachesClusterIPs(mode) && len(c.ClusterDNS) == 0:
		return errors.New("needs pods.clusterDNS, with which Pods resolve the names of Services")
	}
	return nil
}

// nameservers returns the name servers for names outside of the cluster.
func (c Config) nameservers() []string {
	if len(c.Services.Nameservers) > 0 {
		return c.Services.Nameservers
	}
	return c.ClusterDNS
}

// reach is how a Pod reaches Services.
type reach struct {
	mode policy.ServicesMode
	// reserved are the ports on which its containers listen, in mode proxy.
	reserved []int32
	// conflict says why the Pod cannot have the sidecar that it should have.
	conflict string
}

// services returns how a Pod reaches Services. It returns an error if the Pod asks for what the virtual node does not
// offer, or if its annotation of ports is malformed.
func (t *Translator) services(pod *corev1.Pod) (reach, error) {
	asked, err := policy.ParseServices(pod.Annotations)
	if err != nil {
		return reach{}, err
	}
	mode := cmp.Or(asked, t.config.Services.Mode, policy.ServicesOff)
	if asked == "" && mode == policy.ServicesProxy && hasOwnDNS(pod) {
		return reach{mode: policy.ServicesOff}, nil // It does not resolve names of Services on a local node either.
	}
	if err := t.config.offers(mode); err != nil {
		return reach{}, fmt.Errorf("annotation %s: mode %s is not set up for this virtual node: it %w",
			policy.ServicesAnnotation, mode, err)
	}
	var reserved []int32
	if mode == policy.ServicesProxy {
		reserved, err = reservedPorts(pod)
	}
	if conflict := conflictsWith(pod, mode, reserved); conflict != "" {
		return reach{mode: policy.ServicesOff, conflict: conflict}, nil
	}
	return reach{mode: mode, reserved: reserved}, err
}

// hasOwnDNS reports whether a Pod does not use the DNS of the cluster.
func hasOwnDNS(pod *corev1.Pod) bool {
	return pod.Spec.DNSPolicy == corev1.DNSDefault || pod.Spec.DNSPolicy == corev1.DNSNone
}

// conflictsWith says what of a Pod leaves no place for the sidecar of a mode, empty if nothing does.
func conflictsWith(pod *corev1.Pod, mode policy.ServicesMode, reserved []int32) string {
	volume := func(v corev1.Volume) bool { return v.Name == servicesVolume }
	switch {
	case !mode.HasSidecar():
	case hasContainer(&pod.Spec, policy.ServicesContainer):
		return "it has a container " + policy.ServicesContainer + ": give it another name"
	case slices.ContainsFunc(pod.Spec.Volumes, volume):
		return "it has a volume " + servicesVolume + ": give it another name"
	case mode == policy.ServicesProxy && slices.Contains(reserved, dnsPort):
		return fmt.Sprintf("it listens on port %d, on which the sidecar answers: use another port, or another mode", dnsPort)
	}
	return ""
}

// hasContainer reports whether a Pod has a container or an init container of a name.
func hasContainer(spec *corev1.PodSpec, name string) bool {
	named := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(spec.InitContainers, named) || slices.ContainsFunc(spec.Containers, named)
}

// ReadsServices reports whether the translation of a Pod depends on the Services of its namespace.
func (t *Translator) ReadsServices(pod *corev1.Pod) bool {
	r, err := t.services(pod)
	return err == nil && reachesClusterIPs(r.mode)
}

// reachesClusterIPs reports whether a Pod can connect to ClusterIPs.
func reachesClusterIPs(mode policy.ServicesMode) bool {
	return mode == policy.ServicesRouted || mode == policy.ServicesKubeProxy
}

// chooseServices decides how the Pod reaches Services.
func (b *builder) chooseServices(services []*corev1.Service) {
	var err error
	if b.reach, err = b.translator.services(b.pod); err != nil {
		b.refuse("%v", err)
	}
	if b.conflict != "" {
		b.warn("the Pod gets no sidecar, and does not reach Services, because %s", b.conflict)
	}
	b.links = b.serviceLinks(services)
}

// maxLinks is how many variables of Services all containers of a Pod get together.
const maxLinks = 5000

// serviceLinks returns the variables of Services that a kubelet gives every container: those of the Service kubernetes,
// and unless the Pod says otherwise those of its namespace. Source: Kubernetes v1.37, pkg/kubelet/kubelet_pods.go,
// getServiceEnvVarMap.
func (b *builder) serviceLinks(services []*corev1.Service) []corev1.EnvVar {
	if !reachesClusterIPs(b.mode) {
		return nil
	}
	enabled := b.spec.EnableServiceLinks == nil || *b.spec.EnableServiceLinks
	var api *corev1.Service
	var linked []*corev1.Service
	for _, service := range services {
		switch {
		case service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone || !isLinkable(service):
		case service.Namespace == metav1.NamespaceDefault && service.Name == apiService:
			api = service
		case service.Namespace == b.pod.Namespace && enabled:
			linked = append(linked, service)
		}
	}
	slices.SortFunc(linked, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	var links []corev1.EnvVar
	for _, service := range linked {
		links = append(links, linksOf(service)...)
	}
	containers := len(b.spec.InitContainers) + len(b.spec.Containers)
	if bytes := sizeOfLinks(links); len(links)*containers > maxLinks || bytes*containers > maxValues {
		b.warn("the variables of the %d Services of the namespace are left out, because they are too many for %d "+
			"containers: set enableServiceLinks: false, and use the names of the Services", len(linked), containers)
		links = nil
	}
	if api != nil && !slices.ContainsFunc(linked, func(s *corev1.Service) bool { return s.Name == apiService }) {
		links = append(linksOf(api), links...)
	}
	return links
}

// apiService is the Service of the API server, in namespace default.
const apiService = "kubernetes"

// isLinkable reports whether the names of the variables of a Service are valid. Its name can begin with a digit.
func isLinkable(service *corev1.Service) bool {
	return len(service.Spec.Ports) > 0 && service.Name != "" && (service.Name[0] < '0' || service.Name[0] > '9')
}

// linksOf returns the variables of a Service. Source: Kubernetes v1.37, pkg/kubelet/envvars/envvars.go.
func linksOf(service *corev1.Service) []corev1.EnvVar {
	var links []corev1.EnvVar
	add := func(name, value string) { links = append(links, corev1.EnvVar{Name: name, Value: value}) }
	prefix, ip := variable(service.Name), service.Spec.ClusterIP
	add(prefix+"_SERVICE_HOST", ip)
	add(prefix+"_SERVICE_PORT", strconv.Itoa(int(service.Spec.Ports[0].Port)))
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			add(prefix+"_SERVICE_PORT_"+variable(port.Name), strconv.Itoa(int(port.Port)))
		}
	}
	for i, port := range service.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		protocol := strings.ToLower(cmp.Or(string(port.Protocol), string(corev1.ProtocolTCP)))
		url := protocol + "://" + net.JoinHostPort(ip, number)
		if i == 0 {
			add(prefix+"_PORT", url)
		}
		name := prefix + "_PORT_" + number + "_" + strings.ToUpper(protocol)
		add(name, url)
		add(name+"_PROTO", protocol)
		add(name+"_PORT", number)
		add(name+"_ADDR", ip)
	}
	return links
}

// variable returns the name of a Service or a port as a part of the name of a variable.
func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

func sizeOfLinks(links []corev1.EnvVar) int {
	size := 0
	for _, link := range links {
		size += len(link.Name) + len(link.Value)
	}
	return size
}
