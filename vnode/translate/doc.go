// Package translate translates a Pod to a Pod of CCI, and the status of the cloud Pod to the status of the Pod.
//
// It is pure: it has no client, no clock and no state. A field that CCI does not support is rewritten (hostPath
// replacements, DNS, the downward API, sizes), dropped with a warning, or refused with a message. Fields that have
// already taken effect in the cluster (node selectors, tolerations, affinity, priorities), and fields that mean
// nothing without a host, are dropped without a warning. Table lists every field. Package policy decides whether a Pod
// may run in the cloud at all.
package translate
