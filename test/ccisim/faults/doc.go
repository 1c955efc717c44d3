// Package faults holds what makes the simulated CCI misbehave: the faults that a test injects, and the policies, which
// choose between behaviors that are not documented. Packages api and podlife read them, and package store keeps them in
// the state file. The package itself knows neither requests nor Pods.
package faults
