// Package chart tests the Helm charts: what they render, which values they refuse, and whether a real API server and
// the real programs accept the result.
package chart
