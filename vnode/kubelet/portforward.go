package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// dialTimeout is the time in which a Pod must accept a connection.
const dialTimeout = 10 * time.Second

// portForwardHandler serves /portForward.
type portForwardHandler struct{ pods Pods }

// ServeHTTP forwards connections to the IP address of the cloud Pod. The API of the cloud has no port forwarding.
func (h *portForwardHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, pod := r.PathValue("namespace"), r.PathValue("pod")
	options, err := portforward.NewV4Options(r)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if _, err := h.pods.Address(namespace, pod); err != nil {
		refuse(w, r, statusOf(err), err.Error())
		return
	}
	w, r, hangUp := serve.UntilHangUp(w, r)
	defer hangUp()
	forward := &forwarder{pods: h.pods, namespace: namespace, pod: pod, caller: r.Context()}
	portforward.ServePortForward(
		w, r, forward, pod, "", options, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// forwarder forwards the connections of one caller.
type forwarder struct {
	pods           Pods
	namespace, pod string
	// caller ends when the caller disconnects.
	caller context.Context
	// open counts the connections.
	open atomic.Int32
}

// PortForward implements portforward.PortForwarder. It blocks until the Pod closes its side of the connection or the
// caller disconnects.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer f.open.Add(-1)
	if f.open.Add(1) > maxForwarded {
		return fmt.Errorf("%d connections are forwarded already: close some of them", maxForwarded)
	}
	address, err := f.pods.Address(f.namespace, f.pod)
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(f.caller, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("connecting to the cloud Pod at %s: the virtual node must be able to reach the subnets of the "+
			"cloud, and the Pod must listen on the port: %w", address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(f.caller, func() { _ = conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, stream) // The other direction fails too and returns the error.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // The Pod may still answer.
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("forwarding the answer of the cloud Pod at %s: %w", address, err)
	}
	return nil
}
