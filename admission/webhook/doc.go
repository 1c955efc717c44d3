// Package webhook answers the API server about objects at the moment they are created or updated. It prepares Pods for where they
// may run: tolerations, node affinity, hostPath volumes and the mark that makes the scheduler ask the extender. And it refuses
// workloads whose keys are malformed (admission/validation finds that), and the uninstallation of Spillway while Pods run in the cloud.
//
// It answers and touches nothing else, so a dry run is like any other. It never refuses what a controller makes: what is malformed
// there gets a warning, and what it cannot find out leaves the Pod to admission/controllers.
package webhook
