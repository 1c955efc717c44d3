package host

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// health serves /healthz, /readyz and /metrics of the process.
func (h *Host) health() http.Handler {
	mux := http.NewServeMux()
	answer := func(check func() (string, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			text, err := check()
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, text)
		}
	}
	mux.HandleFunc("GET /healthz", answer(h.alive))
	mux.HandleFunc("GET /readyz", answer(h.ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.GathererFunc(h.gather), promhttp.HandlerOpts{}))
	return mux
}

// alive returns an error if only a restart of the process helps.
func (h *Host) alive() (string, error) {
	var errs []error
	for _, n := range h.nodes {
		errs = append(errs, n.hangs())
	}
	return "ok", errors.Join(errs...)
}

// ready says for each node where it runs. It returns an error unless each node runs in this process and is ready, or
// runs in another process, and Pods can get their Services here: a rolling update must not end another process before
// that, since this one may have to take over its Pods.
func (h *Host) ready() (string, error) {
	lines := []string{"ok"}
	var errs []error
	for _, n := range h.nodes {
		text, err := n.state()
		errs = append(errs, err)
		lines = append(lines, text)
	}
	if h.services != nil {
		errs = append(errs, h.services.Ready())
	}
	return strings.Join(lines, "\n"), errors.Join(errs...)
}

// gather returns the metrics of the process and of the virtual nodes that run in it.
func (h *Host) gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{h.registry}
	for _, n := range h.nodes {
		if node := n.current(); node != nil {
			all = append(all, node.Gatherer())
		}
	}
	return all.Gather()
}
