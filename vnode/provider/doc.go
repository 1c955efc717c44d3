// Package provider runs the Pods of one virtual node in the cloud. It is the provider that virtual-kubelet calls.
//
// A call of virtual-kubelet only says that something may have changed. What to do follows from the comparison of the
// Pod in the cluster with the cloud Pod in the inventory (see reconcile.go). The comparison is repeated for each Pod
// until both agree: after errors, after restarts, after lost responses. The UID tells a Pod from its successor of the
// same name, and the name of the cloud Pod follows from it, so nothing is ever created twice. Before the provider
// ends anything because a Pod or a cloud Pod is absent, it reads from the cluster or from the cloud that it is
// absent.
//
// The provider keeps no state that a restart must preserve, and leaves running Pods alone when it stops. It does not
// decide where Pods run, and does not register the node.
package provider
