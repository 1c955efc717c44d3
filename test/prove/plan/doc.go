// Package plan draws random histories: which workloads there are, what is done to them and when, and how the cluster is disturbed
// meanwhile. The same seed gives the same plan. It does nothing of it.
package plan
