package ccisim

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
)

// Annotations by which a Pod chooses its exporter, and where it listens by default. Source: CCI manual, "Enabling Pod metrics".
const (
	annotationExporter     = "monitoring.cci.io/enable-pod-metrics"
	annotationExporterPort = "monitoring.cci.io/metrics-port"
	exporterPort           = "19100"
)

// clockTicks a second are the kernel's unit of CPU time in /proc: 100 on every Linux.
const clockTicks = 100

// startExporter has a Pod's exporter listen at the Pod's address, unless it does or the Pod wants none. Holds mu.
func (s *Sim) startExporter(pod *Pod) {
	if !s.cfg.Exporters || s.exporters[pod.UID] != nil || strings.EqualFold(pod.Annotations[annotationExporter], "false") {
		return
	}
	port := exporterPort
	if chosen, ok := pod.Annotations[annotationExporterPort]; ok {
		port = chosen
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(pod.Status.PodIP, port))
	if err != nil {
		s.cfg.Logger.Error("Starting a pod's exporter failed", "pod", pod.Name, "error", err)
		return
	}
	uid, k := pod.UID, keyOf(pod)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.serveExporter(w, k, uid) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	s.exporters[uid] = server
	go func() { _ = server.Serve(listener) }() // Until stopExporter.
}

// stopExporter ends a Pod's exporter. Holds mu.
func (s *Sim) stopExporter(pod types.UID) {
	if server := s.exporters[pod]; server != nil {
		delete(s.exporters, pod)
		_ = server.Close() // Nobody waits for its answers.
	}
}

// stopExporters ends all of them.
func (s *Sim) stopExporters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pod := range s.exporters {
		s.stopExporter(pod)
	}
}

// serveExporter tells what the running containers of a Pod use, in the form of cAdvisor.
func (s *Sim) serveExporter(w http.ResponseWriter, k key, uid types.UID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	pod, ok := s.store.get(pods, k).(*Pod)
	if !ok || pod.UID != uid {
		http.Error(w, "the pod is gone", http.StatusServiceUnavailable)
		return
	}
	var cpu, memory bytes.Buffer
	for _, c := range allContainers(pod) {
		status := containerStatus(pod, c.Name)
		if status == nil || status.State.Running == nil {
			continue
		}
		seconds, workingSet := s.used(pod, c.Name, status.State.Running.StartedAt.Time)
		labels := fmt.Sprintf(`{container=%q,cpu="total",image=%q,namespace=%q,pod=%q}`, c.Name, c.Image, pod.Namespace, pod.Name)
		fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s %g\n", labels, seconds)
		fmt.Fprintf(&memory, "container_memory_working_set_bytes%s %d\n", strings.Replace(labels, `cpu="total",`, "", 1), workingSet)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE container_cpu_usage_seconds_total counter\n%s# TYPE container_memory_working_set_bytes gauge\n%s", &cpu, &memory)
}

// used is what the process of a container has used, or what annotations say of one that is simulated. Holds mu.
func (s *Sim) used(pod *Pod, container string, since time.Time) (cpu float64, memory int64) {
	if p := s.processes[containerKey{pod.UID, container}]; p != nil {
		return processUse(p.command.Process.Pid)
	}
	cores, err := strconv.ParseFloat(setting(pod.Annotations, BehaviourCPU, container, false), 64)
	if err != nil {
		cores = defaultCores
	}
	memory, err = strconv.ParseInt(setting(pod.Annotations, BehaviourMemory, container, false), 10, 64)
	if err != nil {
		memory = defaultMemory
	}
	return cores * s.now().Sub(since).Seconds(), memory
}

// processUse reads what a process has used, its ended children included; nothing where it is gone.
func processUse(pid int) (cpu float64, memory int64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The second field is the name, in brackets, and may hold anything. Source: proc(5).
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
