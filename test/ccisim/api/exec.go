package api

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// execParameters are the query parameters of pods/exec.
var execParameters = []string{"command", "container", "stdin", "stdout", "stderr", "tty"}

// serveExec serves pods/exec: a WebSocket, or SPDY as kubectl wants it after a WebSocket was refused. Both speak
// v4.channel.k8s.io only, and are cut when no frame is sent or received for ExecIdle.
func (s *Server) serveExec(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	s.countIgnoredParameters(c, query, execParameters)
	if tokenOf(c.r) == "" && !s.cfg.Faults.Policies().SignedExec {
		return nil, &apiError{
			status: http.StatusUnauthorized, body: htmlPage("CloudWAF: no token"),
			message: "the handshake has no X-Auth-Token",
		}
	}
	options := &remotecommand.Options{
		Stdin: IsTrue(query.Get("stdin")), Stdout: IsTrue(query.Get("stdout")), Stderr: IsTrue(query.Get("stderr")),
		TTY: IsTrue(query.Get("tty")),
	}
	return s.view(func(v store.View) (*reply, *apiError) {
		pod, container, refusal := findRunning(v, c, query.Get("container"))
		if refusal != nil {
			return nil, refusal
		}
		if refusal := checkExec(c, options, query["command"]); refusal != nil {
			return nil, refusal
		}
		run := s.life.NewExecution(v, pod, container, options.Stdin)
		return &reply{status: http.StatusSwitchingProtocols, upgrade: func(w http.ResponseWriter, r *http.Request) {
			w, r, hangUp := serve.UntilHangUp(w, r)
			defer hangUp()
			r.Header.Set(protocolHeader(r), remotecommand.StreamProtocolV4Name)
			remotecommand.ServeExec(w, r, run, pod.Name, string(pod.UID), container, query["command"], options,
				s.cfg.ExecIdle, remotecommand.DefaultStreamCreationTimeout, []string{remotecommand.StreamProtocolV4Name})
		}}, nil
	})
}

// checkExec refuses what the service is known to refuse: a request that is no handshake, and other protocols.
func checkExec(c *call, options *remotecommand.Options, command []string) *apiError {
	header := protocolHeader(c.r)
	var offered []string
	for _, line := range c.r.Header.Values(header) {
		for protocol := range strings.SplitSeq(line, ",") {
			offered = append(offered, strings.TrimSpace(protocol))
		}
	}
	switch {
	case len(command) == 0:
		return badRequest("", "you must specify at least 1 command")
	case !options.Stdin && !options.Stdout && !options.Stderr:
		return badRequest("", "you must specify at least 1 of stdin, stdout, stderr")
	case header == "":
		return badRequest("", "Upgrade request required")
	case !slices.Contains(offered, remotecommand.StreamProtocolV4Name):
		return forbidden(objects.Pods, c.name,
			"none of the protocols %v is supported: %s is", offered, remotecommand.StreamProtocolV4Name)
	}
	return nil
}

// protocolHeader returns the header in which a handshake offers its protocols, empty if a request is no handshake.
func protocolHeader(r *http.Request) string {
	switch upgrade := r.Header.Get("Upgrade"); {
	case strings.EqualFold(upgrade, "websocket"):
		return "Sec-Websocket-Protocol"
	case strings.EqualFold(upgrade, "SPDY/3.1"):
		return "X-Stream-Protocol-Version"
	}
	return ""
}

// findRunning returns a Pod and the name of its running container.
func findRunning(v store.View, c *call, requested string) (*objects.Pod, string, *apiError) {
	pod, container, refusal := findContainer(v, c, requested)
	if refusal != nil {
		return nil, "", refusal
	}
	if status := objects.ContainerStatus(pod, container); status == nil || status.State.Running == nil {
		return nil, "", badRequest("", "container %s of pod %s is not running", container, pod.Name)
	}
	return pod, container, nil
}
