// Package costtest bounds what code may cost in a test. An input that costs a hundred times its size is an attack.
package costtest

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Cost is what a function has cost. Memory is what it has allocated in total, in bytes, whether or not it has freed
// that again. CPU is the processor time, which does not depend on what else the machine does.
type Cost struct {
	Memory uint64
	CPU    time.Duration
}

// Of returns the cost of a function. Other goroutines of the process count too.
func Of(f func()) Cost {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := processorTime()
	f()
	cpu := processorTime() - start
	runtime.ReadMemStats(&after)
	return Cost{Memory: after.TotalAlloc - before.TotalAlloc, CPU: cpu}
}

// AtMost fails the test if a function allocates more than memory bytes or needs more than a second of processor time.
func AtMost(t testing.TB, memory uint64, f func()) {
	t.Helper()
	const maxCPU = time.Second
	cost := Of(f)
	if cost.Memory > memory {
		t.Errorf("allocated %.1f MB: the bound is %.1f MB", float64(cost.Memory)/1e6, float64(memory)/1e6)
	}
	if cost.CPU > maxCPU {
		t.Errorf("needed %s of processor time: the bound is %s", cost.CPU, maxCPU)
	}
}

// processorTime returns the time that the process has used a processor.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic("reading the processor time: " + err.Error())
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
