// Package webhook prepares Pods for where they may run, at the moment they are created: tolerations, node affinity, hostPath
// volumes and the mark that makes the scheduler ask the extender. A Pod that nobody gave a burst policy is left as it is.
//
// It answers the API server and touches nothing else, so a dry run is like any other. It never refuses a Pod: what is
// malformed gets a warning, and what it cannot find out leaves the Pod to admission/controllers.
package webhook
