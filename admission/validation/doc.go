// Package validation says what is wrong with the keys that a user has written on a workload: faults, for which it is refused, and
// warnings about what is legal but will not do what it says. It looks at the object alone: the cluster's rules and the claims that
// are known are its parameters. It answers nobody (admission/webhook does) and changes nothing.
package validation
