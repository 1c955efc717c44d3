// Package uninstall tests on a cluster with real nodes, and with the real helm, that uninstalling Spillway's chart
// leaves nothing behind, and what happens if that is not possible. It has its own cluster, which each test restores.
package uninstall
