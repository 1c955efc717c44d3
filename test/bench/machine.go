package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/test/system"
)

// machine describes the machine on which the figures were measured.
type machine struct {
	date                  time.Time
	model, memory         string
	cpus                  int
	goVersion, kubernetes string
}

func describeMachine(ctx context.Context, binDir string) (machine, error) {
	m := machine{date: time.Now(), cpus: runtime.NumCPU(), goVersion: runtime.Version()}
	var err error
	if m.model, err = procField("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	memory, err := procField("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	m.memory = gibibytes(memory)
	version, err := exec.CommandContext(ctx, filepath.Join(binDir, system.APIServer), "--version").Output()
	if err != nil {
		return m, fmt.Errorf("reading the version of the API server: %w", err)
	}
	m.kubernetes = strings.TrimSpace(strings.TrimPrefix(string(version), "Kubernetes "))
	return m, nil
}

// gibibytes converts a size such as "16384 kB", where kB are 1024 bytes. Any other text is returned unchanged.
func gibibytes(size string) string {
	number, isKB := strings.CutSuffix(size, " kB")
	kibibytes, err := strconv.Atoi(number)
	if !isKB || err != nil {
		return size
	}
	return fmt.Sprintf("%.0f GiB", float64(kibibytes)/(1<<20))
}

// procField returns the first value of a field in a file with lines such as "MemTotal: 16 kB". It returns "unknown" if
// the machine does not have the field.
func procField(file, field string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("describing the machine: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown", nil
}
