// Package chart tests the Helm charts: what they render, what they refuse, and whether a real API server and the real programs take it.
package chart
