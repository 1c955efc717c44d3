// Package record keeps what happened in a run of the proof, in the order in which the harness saw it: every change of a Pod and of a
// Node as the API server tells it, every question to the extender with its answer, every binding, and what the harness itself did
// to the cluster. A record is all that the checks know, so it can be written to a file and be checked again.
//
// It decides nothing, and uses no code of the programs that are tried.
package record
