// Package plan generates random histories: workloads, what is done to them and when, and the faults at the same time.
// The same seed gives the same plan. The package does not execute it.
package plan
