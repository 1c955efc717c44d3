package machine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DNSAddress is the ClusterIP of the cluster's DNS.
	DNSAddress = "10.96.0.10"
	// ClusterDomain is the domain of the names of Services.
	ClusterDomain = "cluster.local"
	// dnsUser is the user name of CoreDNS. It is an administrator, because Kubernetes has no role for it.
	dnsUser = "coredns"
)

// startDNS starts the cluster's DNS, and its Service.
func (m *Machine) startDNS(ctx context.Context) error {
	plugins := fmt.Sprintf("kubernetes %s in-addr.arpa {\nkubeconfig %q\npods verified\n}", ClusterDomain,
		m.UserKubeconfig(dnsUser))
	if m.config.Nameserver != "" {
		plugins += "\nforward . " + m.config.Nameserver
	}
	if err := m.startCoreDNS(ctx, ControlAddress, plugins); err != nil {
		return err
	}
	return m.createDNSService(ctx)
}

// ServeNames runs a DNS server at port 53 of an address, which the machine gets. It knows the addresses of these names.
func (m *Machine) ServeNames(ctx context.Context, address string, names map[string]string) error {
	if err := ip("addr add " + address + "/32 dev " + controlBridge); err != nil {
		return err
	}
	hosts := "hosts {\n"
	for name, of := range names {
		hosts += of + " " + name + "\n"
	}
	return m.startCoreDNS(ctx, address, hosts+"}")
}

// startCoreDNS starts a CoreDNS at port 53 of an address, with plugins of a Corefile, and returns when it answers.
func (m *Machine) startCoreDNS(ctx context.Context, address, plugins string) error {
	name, ready := "coredns-"+address, net.JoinHostPort(address, "8181")
	file := filepath.Join(m.config.Dir, name+".conf")
	corefile := fmt.Sprintf(".:53 {\nbind %s\nerrors\nready %s\n%s\n}\n", address, ready, plugins)
	if err := writeFile(file, corefile); err != nil {
		return err
	}
	server, err := start(ctx, m.config.Dir, name, filepath.Join(m.config.PartsDir, "coredns"), "-conf", file)
	if err != nil {
		return err
	}
	return server.await(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ready+"/ready", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("CoreDNS is not ready: %s", response.Status)
		}
		return nil
	})
}

// createDNSService creates the Service kube-dns. CoreDNS is no Pod, so the Service has no selector.
func (m *Machine) createDNSService(ctx context.Context) error {
	ports := map[string]corev1.Protocol{"dns": corev1.ProtocolUDP, "dns-tcp": corev1.ProtocolTCP}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec:       corev1.ServiceSpec{ClusterIP: DNSAddress},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-dns"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ControlAddress}}},
	}
	for name, protocol := range ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: name, Port: 53, Protocol: protocol})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: new(name), Port: new(int32(53)), Protocol: new(protocol),
		})
	}
	_, err := m.Client().CoreV1().Services(metav1.NamespaceSystem).Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating the Service of the cluster's DNS: %w", err)
	}
	slices := m.Client().DiscoveryV1().EndpointSlices(metav1.NamespaceSystem)
	if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the endpoint of the cluster's DNS: %w", err)
	}
	return nil
}
