// Package validation finds what is wrong with the keys that a user has set on a workload: errors, for which the
// webhook rejects the workload, and warnings about keys that are legal but have no effect. It reads only the object,
// the rules of the cluster and the claims that are known. It sends no responses (admission/webhook does) and changes
// nothing.
package validation
