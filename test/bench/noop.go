package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// noOpCommand runs this program as the no-op extender. Like Spillway's extender it is a process of its own: a server
// within the measuring process would answer without a context switch.
const noOpCommand = "no-op-extender"

// noOpRequests counts the requests to the no-op extender, by verb.
const noOpRequests = "no_op_extender_requests_total"

// serveNoOp listens on a free port, prints its URL in one line and serves until the input ends, which also happens when
// the measuring process dies, or until ctx ends.
func serveNoOp(ctx context.Context, in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the no-op extender: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, in) // Any end of the input ends the extender, also an error.
	}()
	server := &http.Server{Handler: newNoOp()}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the no-op extender: %w", err)
	}
	return nil
}

// newNoOp returns the minimum of an extender: with net/http, every node fits, and all scores are equal. It decodes and
// encodes what any extender must. It sets Content-Length: without it kube-scheduler opens a new connection for each
// call.
func newNoOp() http.Handler {
	registry := prometheus.NewRegistry()
	options := prometheus.CounterOpts{Name: noOpRequests, Help: "Requests by verb."}
	requests := prometheus.NewCounterVec(options, []string{"verb"})
	registry.MustRegister(requests)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("POST /v1/filter", noOpVerb(requests.WithLabelValues("filter"), func(names []string) any {
		return extenderv1.ExtenderFilterResult{NodeNames: &names}
	}))
	mux.Handle("POST /v1/prioritize", noOpVerb(requests.WithLabelValues("prioritize"), func(names []string) any {
		scores := make(extenderv1.HostPriorityList, len(names))
		for i, name := range names {
			scores[i].Host = name
		}
		return scores
	}))
	return mux
}

func noOpVerb(requests prometheus.Counter, answer func(names []string) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Inc()
		var args extenderv1.ExtenderArgs
		if err := json.NewDecoder(r.Body).Decode(&args); err != nil || args.NodeNames == nil {
			http.Error(w, fmt.Sprintf("the body must be ExtenderArgs with NodeNames: %v", err), http.StatusBadRequest)
			return
		}
		body, err := json.Marshal(answer(*args.NodeNames))
		if err != nil {
			http.Error(w, "encoding the answer: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // An error means that the scheduler has disconnected.
	})
}

// startNoOp starts this program as the no-op extender.
func startNoOp() (runningExtender, error) {
	self, err := os.Executable()
	if err != nil {
		return runningExtender{}, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self, noOpCommand)
	cmd.Stderr = os.Stderr
	stdin, errIn := cmd.StdinPipe()
	stdout, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		return runningExtender{}, fmt.Errorf("starting the no-op extender: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return runningExtender{}, fmt.Errorf("starting the no-op extender: %w", err)
	}
	stop := func() error {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			return fmt.Errorf("ending the no-op extender: %w", err)
		}
		return nil
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return runningExtender{}, errors.Join(fmt.Errorf("reading the URL of the no-op extender: %w", err), stop())
	}
	return runningExtender{url: strings.TrimSpace(url), pid: cmd.Process.Pid, counter: noOpRequests, stop: stop}, nil
}
