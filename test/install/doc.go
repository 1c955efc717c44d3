// Package install holds the tests of the charts on a cluster with real nodes: images, Pods, ServiceAccounts and Services are what anybody's are. Only
// the cloud is simulated, by the chart itself. `make e2e-install` builds what they need and runs them, as root.
package install
