// Package uninstall takes out of a cluster what Spillway's programs have made there while they ran and nobody tends once they are gone: virtual
// nodes with the Pods on them, their requests for certificates, and waiting Pods that no scheduler would ever place. What was installed
// with the programs is whose who installed it, and the cloud is none of its business.
package uninstall
