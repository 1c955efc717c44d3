package app

import (
	"errors"
	"fmt"
	"net/http"
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
	mux.Handle("GET /metrics", a.metrics.Handler())
	return mux
}

// notePlace remembers what stands against the place in the cloud, and shows it on the Node.
func (a *App) notePlace(err error) {
	a.noPlace.Store(&err)
	a.trouble.NotePlace(err)
}

// ready says what is not there yet, nil when Pods are tended.
func (a *App) ready() error {
	if !a.leads.Load() {
		return fmt.Errorf("another vnode tends node %s: Lease %s in namespace %s says which", a.config.Node.Name, a.leader.Name, a.leader.Namespace)
	}
	for _, part := range []struct {
		name  string
		ready <-chan struct{}
	}{
		{"the node is not registered", a.node.Ready()},
		{"the cloud pods are not known", a.inventory.Synced()},
		{"the pods are not known", a.pods.Ready()},
	} {
		select {
		case <-part.ready:
		default:
			var noPlace error
			if noted := a.noPlace.Load(); noted != nil {
				noPlace = *noted
			}
			return errors.Join(errors.New(part.name), noPlace, a.inventory.Err())
		}
	}
	return nil
}
