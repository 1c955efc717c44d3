// Package monitoring tests what operators watch with a real Prometheus: promtool parses the alerts and the expressions
// of the dashboards and plays the unit tests of the alerts, and Prometheus scrapes a running system. prometheus.sh gets
// both programs. test/reference compares the same files with the code.
package monitoring
