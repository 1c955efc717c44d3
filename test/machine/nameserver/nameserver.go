// Package nameserver resolves the names of the Services of a cluster, for Pods on real nodes of tests.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Serve runs a name server at the UDP address. It returns when the server listens. The server runs until the process
// ends.
func Serve(client kubernetes.Interface, address string) error {
	listener, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("serving names: %w", err)
	}
	go serve(client, listener)
	return nil
}

// serve answers requests until the listener is closed.
func serve(client kubernetes.Interface, listener net.PacketConn) {
	for buffer := make([]byte, 1500); ; {
		n, from, err := listener.ReadFrom(buffer)
		if err != nil {
			return
		}
		if response, err := answer(client, buffer[:n]); err == nil {
			_, _ = listener.WriteTo(response, from) // A client that gets no answer retries.
		}
	}
}

// answer answers a request.
func answer(client kubernetes.Interface, request []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(request); err != nil {
		return nil, err
	}
	if len(message.Questions) != 1 {
		return nil, errors.New("the request must have one question")
	}
	question := message.Questions[0]
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	address, err := serviceAddress(ctx, client, question.Name.String())
	response := dnsmessage.Message{
		Questions: message.Questions, Header: dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true},
	}
	switch {
	case apierrors.IsNotFound(err):
		response.RCode = dnsmessage.RCodeNameError
	case err != nil:
		response.RCode = dnsmessage.RCodeServerFailure
	case question.Type == dnsmessage.TypeA && address != nil: // There are no records of other types.
		header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 5}
		response.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte(address)}}}
	}
	return response.Pack()
}

// serviceAddress returns the cluster IP of the Service with that name, or nil if it has none. Other names are not
// found.
func serviceAddress(ctx context.Context, client kubernetes.Interface, name string) (net.IP, error) {
	service, isService := strings.CutSuffix(name, ".svc.cluster.local.")
	parts := strings.Split(service, ".")
	if !isService || len(parts) != 2 {
		return nil, apierrors.NewNotFound(corev1.Resource("services"), name)
	}
	found, err := client.CoreV1().Services(parts[1]).Get(ctx, parts[0], metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return net.ParseIP(found.Spec.ClusterIP).To4(), nil
}
