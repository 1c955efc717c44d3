package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// dialTimeout is how long a Pod may take to answer on a port.
const dialTimeout = 10 * time.Second

type portForwardHandler struct{ pods Pods }

// ServeHTTP forwards connections to ports of a Pod, by its own address: the cloud has nothing for it.
func (h *portForwardHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, pod := r.PathValue("namespace"), r.PathValue("pod")
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := h.pods.Address(namespace, pod); err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	w, r, hangUp := serve.UntilHangUp(w, r)
	defer hangUp()
	forward := &forwarder{pods: h.pods, namespace: namespace, pod: pod, caller: r.Context()}
	portforward.ServePortForward(w, r, forward, pod, "", options, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// forwarder forwards the connections of one caller.
type forwarder struct {
	pods           Pods
	namespace, pod string
	// caller ends when the caller hangs up.
	caller context.Context
}

// PortForward implements portforward.PortForwarder. It blocks until either side has nothing more to say.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	address, err := f.pods.Address(f.namespace, f.pod)
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(f.caller, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("the virtual node does not reach the cloud Pod at %s: it must be able to reach the cloud's subnets, and the "+
			"Pod must listen on the port: %w", address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(f.caller, func() { _ = conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, stream) // The other direction fails too, and says so.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // The Pod may still answer.
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("passing on what the cloud Pod at %s says: %w", address, err)
	}
	return nil
}
