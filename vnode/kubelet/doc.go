// Package kubelet serves the part of the kubelet's HTTP API that a virtual node has: container logs. Whoever asks must be
// authenticated (client certificate or token) and authorised by the cluster.
//
// It does not use virtual-kubelet's handlers: they cannot tell --tail=0 from no --tail, answer every fault of the cloud with 500, and
// offer exec, attach and port-forward whether or not there is something behind them.
package kubelet
