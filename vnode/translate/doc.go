// Package translate turns a Kubernetes Pod into a Pod of CCI, and the cloud Pod's status back into a Pod's.
//
// It is pure: no client, no clock, no state. What CCI cannot hold is rewritten (hostPath replacements, DNS, the downward API,
// sizes), left out with a warning, or refused with words; nothing is lost silently, except what only the cluster's scheduler reads
// (node selectors, tolerations, affinity, priorities: it has obeyed them already) and the service account's token that
// Kubernetes mounts by itself. It does not decide whether a Pod may run in the cloud at all: package policy does.
package translate
