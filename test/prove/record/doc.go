// Package record stores what happens in a run of the proof, in the order in which the harness observes it: every change
// of a Pod and of a Node in the API server, every call of the extender with its answer, every binding, and what the
// harness does to the cluster. The checks use only the record, so a record in a file can be checked again. For that
// reason the JSON fields and values of a record must not change.
//
// The package does not decide anything, and uses no code of the programs under test.
package record
