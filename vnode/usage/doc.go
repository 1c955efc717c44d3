// Package usage knows what cloud Pods use of CPU and memory, from the exporter that the cloud runs in each of them, and tells it as a kubelet
// does: /metrics/resource, which metrics-server reads for kubectl top and the HorizontalPodAutoscaler, and /stats/summary.
//
// A Pod whose exporter does not answer, or does not know all of its containers, is left out: an autoscaler takes nothing for unknown, but zero
// for idle. Nothing is asked for while nobody wants to know.
package usage
