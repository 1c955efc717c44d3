package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on all platforms.
const tick = 10 * time.Millisecond

// usage is the CPU time of the machine since it was started, in ticks.
type usage struct {
	// total is all CPU time, busy the used CPU time, also of other guests of the host, and ours that of the measured
	// processes.
	total, busy, ours int
}

// measureUsage reads the CPU times of the machine and of the processes. A process that has ended does not count.
func measureUsage(pids []int) (usage, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}, fmt.Errorf("reading the CPU time of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	u, err := parseUsage(line)
	if err != nil {
		return usage{}, err
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		p, err := parseProcess(string(stat))
		if err != nil {
			return usage{}, err
		}
		u.ours += p.own
	}
	return u, nil
}

// parseUsage parses "cpu user nice system idle iowait irq softirq steal guest guest_nice". The last two are part of
// user and nice (proc(5)).
func parseUsage(line string) (usage, error) {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return usage{}, fmt.Errorf("reading the CPU time of the machine: %q must begin with cpu and at least 8 numbers", line)
	}
	var u usage
	for i, field := range fields[1:9] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return usage{}, fmt.Errorf("reading the CPU time of the machine: %w", err)
		}
		u.total += ticks
		if i != 3 && i != 4 { // idle and iowait
			u.busy += ticks
		}
	}
	return u, nil
}

// process is what proc(5) says of a process: its parent, the 4th field, and CPU times in ticks: utime and stime, the
// 14th and 15th field, and those of its children that have ended, the two after them.
type process struct{ parent, own, children int }

// parseProcess parses /proc/PID/stat. The second field, the name, may contain spaces and parentheses.
func parseProcess(stat string) (process, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return process{}, fmt.Errorf("reading the CPU time of a process: %q has too few fields", stat)
	}
	var numbers [5]int
	for i, field := range append(fields[1:2:2], fields[11:15]...) {
		number, err := strconv.Atoi(field)
		if err != nil {
			return process{}, fmt.Errorf("reading the CPU time of a process: %w", err)
		}
		numbers[i] = number
	}
	return process{parent: numbers[0], own: numbers[1] + numbers[2], children: numbers[3] + numbers[4]}, nil
}

// measureAll reads the CPU times of the machine, of this process and of all its descendants, whether they still run or
// have ended.
func measureAll() (usage, error) {
	u, err := measureUsage(nil)
	if err != nil {
		return usage{}, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return usage{}, fmt.Errorf("listing the processes: %w", err)
	}
	processes := map[int]process{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // It has ended.
		}
		p, err := parseProcess(string(stat))
		if err != nil {
			return usage{}, err
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return usage{}, fmt.Errorf("reading the CPU time of a process: %w", err)
		}
		processes[pid] = p
	}
	for pid, p := range processes {
		// A process that ends while the list is read can break the chain to this one. Its parent counts it then.
		for up := pid; up != 0; up = processes[up].parent {
			if up == os.Getpid() {
				u.ours += p.own + p.children
				break
			}
		}
	}
	return u, nil
}

// othersSince returns the share of the CPU time that other work used: other processes, the kernel, and other guests of
// the host.
func (u usage) othersSince(before usage) float64 {
	total := u.total - before.total
	if total <= 0 {
		return 0
	}
	return max(0, float64(u.busy-before.busy-(u.ours-before.ours))/float64(total))
}

// oursSince returns the CPU time that the measured processes used.
func (u usage) oursSince(before usage) time.Duration { return time.Duration(u.ours-before.ours) * tick }

// busyWithOthers is the share of other work above which a measurement waits.
const busyWithOthers = 0.1

// awaitCalm returns when other work has used little CPU time for a second, or after the limit.
func awaitCalm(ctx context.Context, limit time.Duration, pids []int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	before, err := measureUsage(pids)
	for err == nil {
		select {
		case <-ctx.Done():
			return nil // If ctx was interrupted, the next step fails.
		case <-second.C:
		}
		after, failed := measureUsage(pids)
		if failed == nil && after.othersSince(before) < busyWithOthers {
			return nil
		}
		before, err = after, failed
	}
	return err
}
