// Package policy decides where a Pod may run and why: the switches, the burst modes, local quotas, the restrictions of
// the cloud and the replacement of hostPath volumes.
//
// It is pure: facts go in, a Decision comes out. It has no client, no clock, no I/O and no state, and imports only the
// standard library, k8s.io/api and k8s.io/apimachinery. It does not count replicas (extender/ledger does) and does not
// change Pods in the cluster (admission and vnode do).
package policy
