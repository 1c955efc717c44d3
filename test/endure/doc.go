// Package endure wears out a virtual node: rounds of workloads that are made, changed and deleted, each round under another fault of the
// cloud and with kill -9 of the virtual node at any moment, all drawn from a printed seed. In the end the cloud has what the cluster has,
// nothing was ever made twice, and no Pod has failed that could have run.
//
// `make endure` plays 200 rounds; the tests play a few.
package endure
