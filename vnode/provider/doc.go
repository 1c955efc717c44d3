// Package provider runs the Pods of one virtual node in the cloud: it is the provider that virtual-kubelet asks for.
//
// virtual-kubelet's calls only say that something may have changed. What is to be done follows from comparing the Pod as the
// cluster has it with the cloud Pod as the inventory has it (see reconcile.go), for each Pod again and again until both agree: after
// errors, after restarts, after lost answers. A Pod is told from its successor of the same name by its UID, and the name of its cloud Pod
// follows from it, so nothing is ever made twice. Absence is proven by asking before anything is ended because of it.
//
// It keeps nothing that a restart would miss, and leaves running Pods alone when it ends. It does not decide where Pods go, and does
// not register the node.
package provider
