// Package podlife changes the objects of the simulated CCI as time passes. Pods get a node and an address, their
// containers start, end and restart, deleted Pods disappear; networks become ready, claims are bound, namespaces empty.
//
// A Controller reconciles one object at a time, when it is due or when something that it depends on has changed. What
// it decides depends on the stored objects, the faults and the clock alone, so it continues after a restart where it
// was.
//
// The package knows no request: package api checks those, and calls Created, Stored and Delete.
package podlife
