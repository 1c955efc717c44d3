// Package uninstall tests on a cluster with real nodes, and with the real helm, that Spillway's chart goes without a trace, and what happens
// where that cannot be. It has a cluster of its own, which is to be as before when each test ends.
package uninstall
