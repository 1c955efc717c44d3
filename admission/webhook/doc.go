// Package webhook answers admission reviews. It prepares Pods at creation: tolerations, node affinity, hostPath
// volumes and the request for the marker resource, which makes the scheduler call the extender. It rejects workloads
// whose keys are malformed (admission/validation finds them), and it rejects the uninstallation of Spillway while
// Pods run in the cloud.
//
// Reviews have no side effects, so a dry run gets the same response. The webhook never rejects what a controller
// creates: it returns a warning about malformed keys, and if it cannot evaluate a Pod, it leaves the Pod to
// admission/controllers.
package webhook
