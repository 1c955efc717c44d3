// Package services gives Pods in the cloud the Services of the cluster: a read-only part of the Kubernetes API, with
// list and watch of Services and EndpointSlices, for the proxy that runs in each of these Pods. All Pods of a vnode
// process share one list and watch of each resource.
//
// It is no API server: it knows the parameters that client-go's reflector and kube-proxy send, and rejects the others.
package services
