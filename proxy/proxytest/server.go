// Package proxytest is a server of Services for the tests of the proxy: a small part of an API server in memory, over
// TLS and HTTP/2, whose streams and answers a test can cut.
package proxytest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Token is the token that the servers accept.
const Token = "v1.token"

// Cluster has the Services and EndpointSlices that its servers show.
type Cluster struct {
	mu      sync.Mutex
	version int
	// oldest is the oldest version from which a watch can begin.
	oldest  int
	objects map[key]object
	log     []event
	// changed is closed and replaced by each change.
	changed chan struct{}
}

type key struct {
	resource string
	name     types.NamespacedName
}

// object is what both kinds of objects are.
type object interface {
	metav1.Object
	runtime.Object
}

type event struct {
	kind     watch.EventType
	resource string
	version  int
	object   object
}

// NewCluster returns an empty Cluster.
func NewCluster() *Cluster {
	return &Cluster{version: 1000, oldest: 1000, objects: map[key]object{}, changed: make(chan struct{})}
}

func resourceOf(o object) string {
	switch o.(type) {
	case *corev1.Service:
		return "services"
	case *discoveryv1.EndpointSlice:
		return "endpointslices"
	}
	panic(fmt.Sprintf("objects of type %T are not served", o))
}

// Put creates or replaces Services and EndpointSlices.
func (c *Cluster) Put(objects ...object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range objects {
		o = o.DeepCopyObject().(object)
		switch typed := o.(type) {
		case *corev1.Service:
			typed.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
		case *discoveryv1.EndpointSlice:
			typed.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
		}
		at := key{resourceOf(o), types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
		kind := watch.Added
		if _, ok := c.objects[at]; ok {
			kind = watch.Modified
		}
		c.add(kind, at, o)
		c.objects[at] = o
	}
}

// Delete removes Services and EndpointSlices.
func (c *Cluster) Delete(objects ...object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range objects {
		at := key{resourceOf(o), types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
		if old, ok := c.objects[at]; ok {
			delete(c.objects, at)
			c.add(watch.Deleted, at, old.DeepCopyObject().(object))
		}
	}
}

func (c *Cluster) add(kind watch.EventType, at key, o object) {
	c.version++
	o.SetResourceVersion(strconv.Itoa(c.version))
	c.log = append(c.log, event{kind, at.resource, c.version, o})
	close(c.changed)
	c.changed = make(chan struct{})
}

// Forget makes all versions so far too old for a watch.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log, c.oldest = nil, c.version
}

// initial returns the events of the objects that exist, and the version.
func (c *Cluster) initial(resource string) (events []event, version int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, o := range c.objects {
		if at.resource == resource {
			events = append(events, event{watch.Added, resource, c.version, o})
		}
	}
	return events, c.version
}

// after returns the events after a version, and a channel that the next change closes.
func (c *Cluster) after(resource string, version int) (events []event, next int, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.log {
		if e.version > version && e.resource == resource {
			events = append(events, e)
		}
	}
	return events, c.version, c.changed
}

// Server is one server of a Cluster.
type Server struct {
	cluster *Cluster
	http    *httptest.Server

	mu       sync.Mutex
	refusal  int
	listOnly bool
	cut      chan struct{}
	streams  int
	requests []string
}

// Start runs a server until the end of the test.
func (c *Cluster) Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{cluster: c, cut: make(chan struct{})}
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(s.Stop)
	return s
}

// Stop closes the port and all connections.
func (s *Server) Stop() {
	s.Cut()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Address is the host:port of the server.
func (s *Server) Address() string { return s.http.Listener.Addr().String() }

// Refuse makes the server answer every request with a status, or serve again with 0.
func (s *Server) Refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = status
}

// RefuseStreamedLists makes the server one that has no sendInitialEvents.
func (s *Server) RefuseStreamedLists() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listOnly = true
}

// Cut ends all streams.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// Streams returns how many watches are open.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}

// Requests returns the paths and parameters of the requests so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refusal, listOnly, cut := s.refusal, s.listOnly, s.cut
	s.requests = append(s.requests, r.URL.String())
	s.mu.Unlock()
	resource := map[string]string{
		"/api/v1/services": "services", "/apis/discovery.k8s.io/v1/endpointslices": "endpointslices",
	}[r.URL.Path]
	query := r.URL.Query()
	version, err := strconv.Atoi("0" + query.Get("resourceVersion"))
	switch {
	case refusal != 0:
		status(w, refusal, "this server is told to refuse")
	case r.Header.Get("Authorization") != "Bearer "+Token:
		status(w, http.StatusUnauthorized, "the token is not that of a Pod here")
	case resource == "" || r.Method != http.MethodGet || err != nil:
		status(w, http.StatusNotFound, "there is no such thing")
	case listOnly && query.Get("sendInitialEvents") != "":
		status(w, http.StatusUnprocessableEntity, "sendInitialEvents is forbidden for watch unless the feature is enabled")
	case query.Get("watch") == "":
		s.list(w, resource)
	default:
		s.mu.Lock()
		s.streams++
		s.mu.Unlock()
		s.watch(w, r, resource, version, cut)
		s.mu.Lock()
		s.streams--
		s.mu.Unlock()
	}
}

func status(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Message: message,
	})
}

func (s *Server) list(w http.ResponseWriter, resource string) {
	events, version := s.cluster.initial(resource)
	list := map[string]any{"apiVersion": "v1", "kind": "ServiceList"}
	if resource == "endpointslices" {
		list = map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList"}
	}
	items := []any{}
	for _, e := range events {
		items = append(items, e.object)
	}
	list["metadata"], list["items"] = metav1.ListMeta{ResourceVersion: strconv.Itoa(version)}, items
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, resource string, from int, cut <-chan struct{}) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	send := func(kind watch.EventType, o any) {
		_ = encoder.Encode(map[string]any{"type": kind, "object": o})
	}
	flush := func() { _ = http.NewResponseController(w).Flush() }
	s.cluster.mu.Lock()
	oldest := s.cluster.oldest
	s.cluster.mu.Unlock()
	switch {
	case r.URL.Query().Get("sendInitialEvents") == "true":
		events, version := s.cluster.initial(resource)
		for _, e := range events {
			send(e.kind, e.object)
		}
		from = version
		bookmark(send, resource, version, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	case from < oldest:
		send(watch.Error, metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version",
		})
		return
	}
	for {
		events, next, changed := s.cluster.after(resource, from)
		for _, e := range events {
			send(e.kind, e.object)
		}
		from = next
		flush()
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case <-changed:
		}
	}
}

func bookmark(send func(watch.EventType, any), resource string, version int, annotations map[string]string) {
	meta := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version), Annotations: annotations}
	if resource == "services" {
		send(watch.Bookmark, corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta,
		})
		return
	}
	send(watch.Bookmark, discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, ObjectMeta: meta,
	})
}

// Kubeconfig writes a kubeconfig with a context for each server, the first being the current one, and returns its path.
func Kubeconfig(t testing.TB, token string, servers ...*Server) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	for i, s := range servers {
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
		name := fmt.Sprintf("server-%d", i)
		config.Clusters[name] = &clientcmdapi.Cluster{
			Server: "https://" + s.Address(), TLSServerName: "example.com", CertificateAuthorityData: ca,
		}
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	config.CurrentContext = "server-0"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}

// Service returns a Service of type ClusterIP with ports such as "http:80", "http:80:8080" (with the port of endpoints)
// or "dns:53/UDP".
func Service(name string, ports ...string) *corev1.Service {
	namespace, name, _ := strings.Cut(name, "/")
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"},
	}
	for _, text := range ports {
		portName, protocol, number, _ := port(text)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: portName, Protocol: protocol, Port: number})
	}
	return s
}

// Slice returns an EndpointSlice of a Service, with ready endpoints. Of ports such as "http:80:8080" endpoints have the
// last number.
func Slice(name, service string, ports []string, addresses ...string) *discoveryv1.EndpointSlice {
	namespace, service, _ := strings.Cut(service, "/")
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, text := range ports {
		portName, protocol, _, target := port(text)
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &portName, Protocol: &protocol, Port: &target})
	}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	return s
}

// port reads NAME:NUMBER[:TARGET][/PROTOCOL].
func port(text string) (name string, protocol corev1.Protocol, number, target int32) {
	text, kind, _ := strings.Cut(text, "/")
	protocol = corev1.ProtocolTCP
	if kind != "" {
		protocol = corev1.Protocol(kind)
	}
	parts := strings.Split(text, ":")
	numbers := make([]int32, len(parts))
	for i, part := range parts[1:] {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil {
			panic(err)
		}
		numbers[i+1] = int32(n)
	}
	return parts[0], protocol, numbers[1], numbers[len(numbers)-1]
}
