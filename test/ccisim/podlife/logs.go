package podlife

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// maxLogLines bounds a container's log, as the log rotation of a node does.
const maxLogLines = 10000

// LogLine is one line, without its end.
type LogLine struct {
	At   time.Time
	Text string
}

// Log is what one run of a container has written. Its methods may be called from any goroutine.
type Log struct {
	// isProcess is true if a process writes the log, and the simulator adds no lines of its own.
	isProcess bool

	mu    sync.Mutex
	lines []LogLine
	// dropped is how many lines were dropped at the front.
	dropped int
	// ended is true when no line will follow.
	ended bool
	// changed is closed and replaced at every change.
	changed chan struct{}
}

func newLog(isProcess bool) *Log { return &Log{isProcess: isProcess, changed: make(chan struct{})} }

// Read returns the lines after the first n that were ever written, and how many were written in all. Changed is closed
// when that changes. Ended reports that no line will follow.
func (l *Log) Read(n int) (lines []LogLine, total int, changed <-chan struct{}, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[max(n-l.dropped, 0):], l.dropped + len(l.lines), l.changed, l.ended
}

// append adds lines, and reports whether the log had not ended.
func (l *Log) append(at time.Time, texts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	for _, text := range texts {
		l.lines = append(l.lines, LogLine{at, text})
		if len(l.lines) > maxLogLines {
			drop := len(l.lines) - maxLogLines/2
			l.lines = append([]LogLine(nil), l.lines[drop:]...)
			l.dropped += drop
		}
	}
	l.signal()
	return true
}

// end marks the log as ended.
func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.signal()
}

func (l *Log) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// podLogs are the logs of a Pod, by container.
type podLogs map[string]*containerLogs

// containerLogs are the logs of a container's present run and of the run before. Current is never nil.
type containerLogs struct {
	current, previous *Log
}

// Logs returns the logs of a container's present run and of the run before, each nil if there is none.
func (c *Controller) Logs(_ store.View, pod *objects.Pod, container string) (current, previous *Log) {
	if logs := c.logs[pod.UID][container]; logs != nil {
		return logs.current, logs.previous
	}
	return nil, nil
}

// AppendLog writes a line to the log of a running container. Line ends in it make several lines.
func (c *Controller) AppendLog(namespace, pod, container, text string) error {
	var err error
	c.store.Update(func(tx store.Tx) {
		found := tx.Pod(namespace, pod)
		if found == nil {
			err = errors.New("no such pod")
			return
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if log, _ := c.Logs(tx.View, found, container); log == nil || !log.append(c.now(), lines...) {
			err = fmt.Errorf("container %q is not running", container)
		}
	})
	if err != nil {
		return fmt.Errorf("appending to the log of %s/%s: %w", namespace, pod, err)
	}
	return nil
}

// startLog starts the log of a new run.
func (c *Controller) startLog(_ store.Tx, pod *objects.Pod, container *corev1.Container, lines int) {
	if c.logs[pod.UID] == nil {
		c.logs[pod.UID] = podLogs{}
	}
	logs := c.logs[pod.UID][container.Name]
	if logs == nil {
		logs = &containerLogs{}
		c.logs[pod.UID][container.Name] = logs
	}
	logs.previous, logs.current = logs.current, newLog(c.isProcess(container))
	if logs.current.isProcess {
		return
	}
	for i := 1; i <= lines; i++ {
		logs.current.append(c.now(), fmt.Sprintf("ccisim: container %s of %s/%s runs %s (line %d of %d)",
			container.Name, pod.Namespace, pod.Name, container.Image, i, lines))
	}
}

// resumeLogs gives the containers of a loaded Pod an empty log: the state file does not keep lines.
func (c *Controller) resumeLogs(tx store.Tx, pod *objects.Pod) {
	for _, container := range objects.AllContainers(pod) {
		status := objects.ContainerStatus(pod, container.Name)
		if status == nil || status.ContainerID == "" {
			continue
		}
		c.startLog(tx, pod, container, 0)
		if status.State.Running == nil {
			c.logs[pod.UID][container.Name].current.end()
		}
	}
}

// endLog ends the log of the present run.
func (c *Controller) endLog(tx store.Tx, pod *objects.Pod, container string, code int32) {
	log, _ := c.Logs(tx.View, pod, container)
	if log == nil {
		return
	}
	if !log.isProcess {
		log.append(c.now(), fmt.Sprintf("ccisim: container %s ended with %d", container, code))
	}
	log.end()
}

// dropLogs drops the logs of a Pod, and ends the streams that follow them.
func (c *Controller) dropLogs(_ store.Tx, pod types.UID) {
	for _, logs := range c.logs[pod] {
		logs.current.end()
	}
	delete(c.logs, pod)
}
