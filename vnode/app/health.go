package app

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health serves /healthz, /readyz and /metrics.
func (a *App) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	return mux
}

// noteCloudNamespace keeps why the cloud namespace is not ready, and shows it on the Node.
func (a *App) noteCloudNamespace(err error) {
	a.cloudNamespaceErr.Store(&err)
	a.conditions.NoteCloudNamespace(err)
}

// ready returns what is not ready yet, or nil once Pods are managed.
func (a *App) ready() error {
	if !a.leads.Load() {
		return fmt.Errorf("another vnode manages node %s: see Lease %s in namespace %s",
			a.config.Node.Name, a.leader.Name, a.leader.Namespace)
	}
	for _, part := range []struct {
		message string
		ready   <-chan struct{}
	}{
		{"the node is not registered", a.node.Ready()},
		{"the cloud pods are not known", a.inventory.Synced()},
		{"the pods are not known", a.pods.Ready()},
	} {
		select {
		case <-part.ready:
		default:
			var cloudNamespace error
			if noted := a.cloudNamespaceErr.Load(); noted != nil {
				cloudNamespace = *noted
			}
			return errors.Join(errors.New(part.message), cloudNamespace, a.inventory.Err())
		}
	}
	return nil
}
