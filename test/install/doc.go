// Package install tests the charts on a cluster with real nodes, images, Pods, ServiceAccounts and Services. Only the
// cloud is simulated, by the chart's simulator. `make e2e-install` builds the prerequisites and runs the tests as root.
package install
