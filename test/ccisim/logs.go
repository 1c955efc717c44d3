package ccisim

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxLogLines bounds a container's log, as a node's log rotation does.
const maxLogLines = 10000

// podLogs are the logs of a Pod, by container.
type podLogs map[string]*containerLogs

// logLine is one line, without its end.
type logLine struct {
	at   time.Time
	text string
}

// containerLogs are the logs of a container's present run and of the one before.
type containerLogs struct {
	current, previous *logStream
}

// logStream is what one run of a container has written.
type logStream struct {
	lines []logLine
	// dropped is how many lines were forgotten at the front.
	dropped int
	// real says that a process writes it, and nobody else.
	real bool
	// ended says that no line will follow.
	ended bool
	// changed is closed, and replaced, at every change.
	changed chan struct{}
}

func newLogStream() *logStream { return &logStream{changed: make(chan struct{})} }

func (l *logStream) append(at time.Time, text string) {
	l.lines = append(l.lines, logLine{at, text})
	if len(l.lines) > maxLogLines {
		drop := len(l.lines) - maxLogLines/2
		l.lines = append([]logLine(nil), l.lines[drop:]...)
		l.dropped += drop
	}
	l.signal()
}

func (l *logStream) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// from returns the lines after the first n ever written, and how many have been written in all.
func (l *logStream) from(n int) ([]logLine, int) {
	total := l.dropped + len(l.lines)
	return l.lines[max(n-l.dropped, 0):], total
}

// startLog begins a new run's log. Holds mu.
func (s *Sim) startLog(pod *Pod, c *corev1.Container, lines int) {
	if s.logs[pod.UID] == nil {
		s.logs[pod.UID] = podLogs{}
	}
	logs := s.logs[pod.UID][c.Name]
	if logs == nil {
		logs = &containerLogs{}
		s.logs[pod.UID][c.Name] = logs
	}
	logs.previous, logs.current = logs.current, newLogStream()
	if logs.current.real = s.isProcess(c); logs.current.real {
		return
	}
	for i := 1; i <= lines; i++ {
		logs.current.append(s.now(), fmt.Sprintf("ccisim: container %s of %s/%s runs %s (line %d of %d)", c.Name, pod.Namespace, pod.Name, c.Image, i, lines))
	}
}

// endLog ends the present run's log. Holds mu.
func (s *Sim) endLog(pod *Pod, container string, code int32) {
	logs := s.logs[pod.UID][container]
	if logs == nil || logs.current == nil {
		return
	}
	if !logs.current.real {
		logs.current.append(s.now(), fmt.Sprintf("ccisim: container %s ended with %d", container, code))
	}
	logs.current.ended = true
	logs.current.signal()
}

// dropLogs forgets a Pod's logs and ends those who follow them. Holds mu.
func (s *Sim) dropLogs(pod types.UID) {
	for _, logs := range s.logs[pod] {
		if logs.current != nil {
			logs.current.ended = true
			logs.current.signal()
		}
	}
	delete(s.logs, pod)
}

// AppendLog writes a line into the log of a container that runs. Line ends in it make several lines.
func (s *Sim) AppendLog(namespace, pod, container, text string) error {
	s = s.holding(namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.store.get(pods, key{namespace, pod}).(*Pod)
	if !ok {
		return fmt.Errorf("appending to the log of %s/%s: no such pod", namespace, pod)
	}
	logs := s.logs[found.UID][container]
	if logs == nil || logs.current == nil || logs.current.ended {
		return fmt.Errorf("appending to the log of %s/%s: container %q does not run", namespace, pod, container)
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		logs.current.append(s.now(), line)
	}
	return nil
}
