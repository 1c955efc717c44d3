package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes the machine on which the figures were measured.
type machine struct {
	date                  time.Time
	model, memory         string
	cpus                  int
	goVersion, kubernetes string
	// loadBefore and loadAfter are the load averages over 1, 5 and 15 minutes. The load before is that of other work.
	loadBefore, loadAfter string
}

func describeMachine() (machine, error) {
	m := machine{date: time.Now(), cpus: runtime.NumCPU(), goVersion: runtime.Version()}
	var err error
	if m.loadBefore, err = loadAverage(); err != nil {
		return m, err
	}
	if m.model, err = procField("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	memory, err := procField("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	m.memory = gibibytes(memory)
	return m, nil
}

func loadAverage() (string, error) {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", fmt.Errorf("reading the load average: %w", err)
	}
	fields := strings.Fields(string(content))
	return strings.Join(fields[:min(3, len(fields))], ", "), nil
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
