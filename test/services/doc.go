// Package services plays table.Rows with real bytes: on a machine with real nodes, kube-proxy and CoreDNS, with the
// chart, and with a simulated cloud whose Pods have networks. `make e2e-install` builds what it needs and runs it as
// root.
package services
