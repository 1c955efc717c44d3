package main

import (
	"errors"
	"fmt"
	"net/http"
)

// health serves /healthz, /readyz and /metrics.
func (v *vnode) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := v.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", v.metrics.Handler())
	return mux
}

// notePlace remembers what stands against the place in the cloud, and shows it on the Node.
func (v *vnode) notePlace(err error) {
	v.noPlace.Store(&err)
	v.trouble.NotePlace(err)
}

// ready says what is not there yet, nil when Pods are tended.
func (v *vnode) ready() error {
	if !v.leads.Load() {
		return fmt.Errorf("another vnode tends node %s: Lease %s in namespace %s says which", v.config.Node.Name, v.leader.Name, v.leader.Namespace)
	}
	for _, part := range []struct {
		name  string
		ready <-chan struct{}
	}{
		{"the node is not registered", v.node.Ready()},
		{"the cloud pods are not known", v.inventory.Synced()},
		{"the pods are not known", v.pods.Ready()},
	} {
		select {
		case <-part.ready:
		default:
			var noPlace error
			if noted := v.noPlace.Load(); noted != nil {
				noPlace = *noted
			}
			return errors.Join(errors.New(part.name), noPlace, v.inventory.Err())
		}
	}
	return nil
}
