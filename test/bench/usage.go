package main

import (
	"context"
	"fmt"
	"os"
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
		ticks, err := parseProcessTicks(string(stat))
		if err != nil {
			return usage{}, err
		}
		u.ours += ticks
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

// parseProcessTicks adds utime and stime, the 14th and 15th field (proc(5)). The second field, the name, may contain
// spaces and parentheses.
func parseProcessTicks(stat string) (int, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the CPU time of a process: %q has too few fields", stat)
	}
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	if errUser != nil || errSystem != nil {
		return 0, fmt.Errorf("reading the CPU time of a process: %q and %q must be numbers", fields[11], fields[12])
	}
	return user + system, nil
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
