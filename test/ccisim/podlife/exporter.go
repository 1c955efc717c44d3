package podlife

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// The annotations of a Pod that configure its exporter, and the default port. Source: CCI manual, "Enabling Pod
// metrics".
const (
	annotationExporter     = "monitoring.cci.io/enable-pod-metrics"
	annotationExporterPort = "monitoring.cci.io/metrics-port"
	exporterPort           = "19100"
)

// clockTicks is the number of ticks per second, the kernel's unit of CPU time in /proc: 100 on every Linux.
const clockTicks = 100

// startExporter starts the exporter of a Pod at its address, unless it is running or the Pod has disabled it.
func (c *Controller) startExporter(_ store.Tx, pod *objects.Pod) {
	if !c.cfg.Exporters || c.exporters[pod.UID] != nil || strings.EqualFold(pod.Annotations[annotationExporter], "false") {
		return
	}
	port := exporterPort
	if chosen, ok := pod.Annotations[annotationExporterPort]; ok {
		port = chosen
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(pod.Status.PodIP, port))
	if err != nil {
		c.cfg.Logger.Error("Starting a pod's exporter failed", "pod", pod.Name, "error", err)
		return
	}
	uid, k := pod.UID, objects.KeyOf(pod)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { c.serveExporter(w, k, uid) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	c.exporters[uid] = server
	go func() { _ = server.Serve(listener) }() // Until stopExporter.
}

// stopExporter stops the exporter of a Pod, if it has one.
func (c *Controller) stopExporter(_ store.Tx, pod types.UID) {
	if server := c.exporters[pod]; server != nil {
		delete(c.exporters, pod)
		_ = server.Close() // Open requests are aborted.
	}
}

// stopExporters stops all exporters.
func (c *Controller) stopExporters() {
	c.store.Update(func(tx store.Tx) {
		for pod := range c.exporters {
			c.stopExporter(tx, pod)
		}
	})
}

// serveExporter reports what the running containers of a Pod use, in the format of cAdvisor.
func (c *Controller) serveExporter(w http.ResponseWriter, k types.NamespacedName, uid types.UID) {
	c.store.View(func(v store.View) {
		pod := v.Pod(k.Namespace, k.Name)
		if pod == nil || pod.UID != uid {
			http.Error(w, "the pod is gone", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(c.metricsOf(v, pod))
	})
}

// metricsOf returns the metrics of a Pod.
func (c *Controller) metricsOf(v store.View, pod *objects.Pod) []byte {
	var cpu, memory, out bytes.Buffer
	for _, container := range objects.AllContainers(pod) {
		status := objects.ContainerStatus(pod, container.Name)
		if status == nil || status.State.Running == nil {
			continue
		}
		seconds, workingSet := c.used(v, pod, container.Name, status.State.Running.StartedAt.Time)
		labels := fmt.Sprintf(`{container=%q,cpu="total",image=%q,namespace=%q,pod=%q}`,
			container.Name, container.Image, pod.Namespace, pod.Name)
		fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s %g\n", labels, seconds)
		fmt.Fprintf(&memory, "container_memory_working_set_bytes%s %d\n",
			strings.Replace(labels, `cpu="total",`, "", 1), workingSet)
	}
	fmt.Fprintf(&out, "# TYPE container_cpu_usage_seconds_total counter\n%s"+
		"# TYPE container_memory_working_set_bytes gauge\n%s", &cpu, &memory)
	return out.Bytes()
}

// used returns what the process of a container has used, or for a simulated container what annotations say.
func (c *Controller) used(
	_ store.View, pod *objects.Pod, container string, since time.Time,
) (cpu float64, memory int64) {
	if p := c.processes[containerKey{pod.UID, container}]; p != nil {
		return processUse(p.command.Process.Pid)
	}
	cores, err := strconv.ParseFloat(setting(pod.Annotations, BehaviorCPU, container, false), 64)
	if err != nil {
		cores = defaultCores
	}
	memory, err = strconv.ParseInt(setting(pod.Annotations, BehaviorMemory, container, false), 10, 64)
	if err != nil {
		memory = defaultMemory
	}
	return cores * c.now().Sub(since).Seconds(), memory
}

// processUse returns what a process and its ended children have used, zero if the process is gone.
func processUse(pid int) (cpu float64, memory int64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The second field is the name, in parentheses, and may contain anything. Source: proc(5).
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return 0, 0
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(fields[21], 10, 64) // rss
	if err != nil {
		return 0, 0
	}
	return float64(ticks) / clockTicks, pages * int64(os.Getpagesize())
}
