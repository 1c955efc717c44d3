// Package kubelet serves the parts of the kubelet's HTTP API that a virtual node supports: logs, commands in
// containers, port forwarding, usage, metrics and lists of Pods. Callers must be authenticated by a client certificate
// or a token, and authorized by the cluster.
//
// It does not use the handlers of virtual-kubelet. Those cannot distinguish --tail=0 from no --tail, answer 500 to
// every error of the cloud, authorize every GET that opens a WebSocket as a read, and always offer attach. The streams
// are served by the kubelet's own code, k8s.io/cri-streaming.
package kubelet
