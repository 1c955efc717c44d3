// Package store keeps the objects of one generation of the simulated CCI: their resource versions, their history for
// watches, lists that are read in pages, and the state file that survives a restart and a kill.
//
// The store has the only lock over objects. View and Update run a function under it, and pass a View or a Tx. Other
// packages keep state that must agree with the objects, such as the addresses of Pods. Their functions that use such
// state take a View or a Tx as a parameter, which proves that the caller holds the lock. Apart from those functions,
// the store calls only the fault table while the lock is held, when it writes the state file.
//
// The store checks nothing: package api decides what may be stored, and package podlife how objects change.
package store
