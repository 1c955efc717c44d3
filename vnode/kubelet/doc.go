// Package kubelet serves the part of the kubelet's HTTP API that a virtual node has: logs, commands in
// containers, forwarded ports, and what Pods use. Whoever asks must be
// authenticated (client certificate or token) and authorised by the cluster.
//
// It does not use virtual-kubelet's handlers: they cannot tell --tail=0 from no --tail, answer every fault of the cloud with 500, take any
// GET of a WebSocket for a read, and offer attach whether or not there is something behind it. Streams are served by the kubelet's own code,
// k8s.io/cri-streaming.
package kubelet
