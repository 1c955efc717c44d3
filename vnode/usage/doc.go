// Package usage measures the CPU and memory usage of cloud Pods. It reads the metrics exporter that the cloud runs in
// each Pod, and serves the usage as a kubelet does: /metrics/resource, which metrics-server reads for kubectl top and
// the HorizontalPodAutoscaler, and /stats/summary.
//
// A Pod is left out if its exporter does not answer, or does not report all containers. An autoscaler ignores a Pod
// without metrics, but treats zero usage as idle. Exporters are read only while a client requests the usage.
package usage
