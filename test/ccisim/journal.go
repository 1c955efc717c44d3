package ccisim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// versionGap is added to the resourceVersion at a restart, so that every version from before is too old to watch from: what is not
	// remembered cannot be told.
	versionGap = 1000
	// journalSlack is how many bytes the file may hold beyond twice its last snapshot before it is written anew.
	journalSlack = 4 << 20
)

// journalLine is one line of the state file, which is a snapshot followed by what has changed since. A line is written before the answer
// that tells of it is sent, so that whatever a caller knows survives even a kill.
type journalLine struct {
	Op string `json:"op"`
	// Version is the store's after the line.
	Version  uint64          `json:"version,omitempty"`
	Resource string          `json:"resource,omitempty"`
	Object   json.RawMessage `json:"object,omitempty"`
	At       time.Time       `json:"at,omitzero"`
	Pod      *PodRecord      `json:"pod,omitempty"`
	Faults   []Fault         `json:"faults,omitempty"`
	Policies *Policies       `json:"policies,omitempty"`
}

const (
	opPut      = "put"
	opDelete   = "delete"
	opPod      = "pod"
	opVersion  = "version"
	opFaults   = "faults"
	opPolicies = "policies"
)

// journal is the open state file. Sim.mu guards it; nil keeps nothing.
type journal struct {
	path           string
	file           *os.File
	size, snapshot int64
	failed         error
}

// openJournal loads the state file, writes it anew, and leaves it open. Called once, before anything else happens.
func (s *Sim) openJournal() error {
	if s.cfg.StateFile == "" {
		return nil
	}
	if err := s.loadState(); err != nil {
		return fmt.Errorf("loading state file %s: %w", s.cfg.StateFile, err)
	}
	s.journal = &journal{path: s.cfg.StateFile}
	if err := s.writeSnapshot(); err != nil {
		return fmt.Errorf("writing state file %s: %w", s.cfg.StateFile, err)
	}
	return nil
}

// Close closes the state file, and tells what went wrong with it since it was opened. It is called last, and may be called twice.
func (s *Sim) Close() error {
	var errFirst error
	if s.first != nil {
		errFirst = s.first.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return errFirst
	}
	err := errors.Join(errFirst, s.journal.failed, s.journal.file.Close())
	s.journal = nil
	if err != nil {
		return fmt.Errorf("closing state file %s: %w", s.cfg.StateFile, err)
	}
	return nil
}

// recordChange remembers a change of the store. Holds mu.
func (s *Sim) recordChange(res *resource, kind watch.EventType, e *entry) {
	if pod, ok := e.obj.(*Pod); ok {
		switch kind {
		case watch.Added:
			s.records.podCreated(recordOf(pod))
		case watch.Deleted:
			s.records.podDeleted(pod.UID, s.now())
		}
	}
	op := opPut
	if kind == watch.Deleted {
		op = opDelete
	}
	s.appendJournal(journalLine{Op: op, Version: s.store.version, Resource: res.plural, Object: e.raw, At: s.now()})
}

func recordOf(pod *Pod) PodRecord {
	return PodRecord{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Labels: pod.Labels, Annotations: pod.Annotations, Created: pod.CreationTimestamp.Time,
	}
}

// appendJournal writes a line. A failure is told at once and again at the end: the state would be lost silently otherwise. Holds mu.
func (s *Sim) appendJournal(line journalLine) {
	if s.journal == nil || s.journal.failed != nil {
		return
	}
	n, err := s.journal.file.Write(append(mustEncode(line), '\n'))
	s.journal.size += int64(n)
	if err == nil && s.journal.size > 2*s.journal.snapshot+journalSlack {
		err = s.writeSnapshot()
	}
	if err != nil {
		s.journal.failed = err
		s.cfg.Logger.Error("Writing the state file failed: state will not survive a restart", "file", s.journal.path, "error", err)
	}
}

// writeSnapshot replaces the file by the present state, atomically, and goes on behind it. Holds mu.
func (s *Sim) writeSnapshot() error {
	next, err := os.CreateTemp(filepath.Dir(s.journal.path), filepath.Base(s.journal.path)+".*")
	if err != nil {
		return err
	}
	out := bufio.NewWriter(next)
	size, err := s.writeState(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = os.Rename(next.Name(), s.journal.path)
	}
	if err != nil {
		return errors.Join(err, next.Close(), os.Remove(next.Name()))
	}
	if s.journal.file != nil {
		if err := s.journal.file.Close(); err != nil {
			return err
		}
	}
	s.journal.file, s.journal.size, s.journal.snapshot = next, size, size
	return nil
}

// writeState writes everything that there is. Holds mu.
func (s *Sim) writeState(out io.Writer) (int64, error) {
	lines := []journalLine{{Op: opVersion, Version: s.store.version}}
	if !s.isFirst { // What both generations have is kept once.
		policies := s.Policies()
		lines = append(lines, journalLine{Op: opPolicies, Policies: &policies}, journalLine{Op: opFaults, Faults: s.faults.list()})
		for _, record := range s.PodsEver() {
			lines = append(lines, journalLine{Op: opPod, Pod: &record})
		}
	}
	for _, res := range allResources {
		for _, e := range s.store.tables[res].sorted("") {
			lines = append(lines, journalLine{Op: opPut, Version: s.store.version, Resource: res.plural, Object: e.raw})
		}
	}
	var size int64
	for _, line := range lines {
		n, err := out.Write(append(mustEncode(line), '\n'))
		size += int64(n)
		if err != nil {
			return size, err
		}
	}
	return size, nil
}

// loadState reads the file, if it exists, and takes life up where it was.
func (s *Sim) loadState() error {
	file, err := os.Open(s.cfg.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReader(file)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// A line without an end was being written when the process was killed: nobody was told of it.
			break
		}
		if err != nil {
			return err
		}
		if err := s.loadLine(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	s.resume()
	return nil
}

func (s *Sim) loadLine(raw []byte) error {
	var line journalLine
	if err := json.Unmarshal(raw, &line); err != nil {
		return err
	}
	s.store.version = max(s.store.version, line.Version)
	switch line.Op {
	case opVersion:
	case opPod:
		if line.Pod == nil {
			return errors.New("a line about a Pod has none")
		}
		s.records.podCreated(*line.Pod)
	case opPolicies:
		if line.Policies == nil {
			return errors.New("a line about policies has none")
		}
		s.policies.Store(line.Policies)
		return line.Policies.validate()
	case opFaults:
		return s.loadFaults(line.Faults)
	case opPut, opDelete:
		return s.loadObject(line)
	default:
		return fmt.Errorf("op %q is not known", line.Op)
	}
	return nil
}

func (s *Sim) loadFaults(faults []Fault) error {
	s.faults.remove("")
	for _, f := range faults {
		if _, err := s.faults.add(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sim) loadObject(line journalLine) error {
	var res *resource
	for _, known := range allResources {
		if known.plural == line.Resource {
			res = known
		}
	}
	if res == nil {
		return fmt.Errorf("resource %q is not known", line.Resource)
	}
	obj := s.strategies[res].empty()
	if err := json.Unmarshal(line.Object, obj); err != nil {
		return err
	}
	if line.Op == opDelete {
		s.store.tables[res].unset(keyOf(obj))
		s.records.podDeleted(obj.GetUID(), line.At)
		return nil
	}
	if _, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64); err != nil {
		return fmt.Errorf("object %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	s.store.tables[res].set(keyOf(obj), &entry{obj: obj, raw: line.Object})
	if pod, ok := obj.(*Pod); ok {
		s.records.podCreated(recordOf(pod))
	}
	return nil
}

// resume makes the loaded objects live on: their addresses are taken, their containers' logs begin again, their time goes on.
func (s *Sim) resume() {
	s.store.version += versionGap
	for res, t := range s.store.tables {
		t.compacted = s.store.version
		for k, e := range t.items {
			s.poke(res, k)
			if pod, ok := e.obj.(*Pod); ok {
				s.addresses.hold(pod.Status.PodIP)
				s.resumeLogs(pod)
			}
		}
	}
	events := s.store.tables[podEvents].sorted("")
	sort.SliceStable(events, func(i, j int) bool {
		return events[i].obj.GetCreationTimestamp().Time.Before(events[j].obj.GetCreationTimestamp().Time)
	})
	for _, e := range events {
		s.eventOrder = append(s.eventOrder, keyOf(e.obj))
	}
}

// resumeLogs gives running containers an empty log: lines are not kept over a restart.
func (s *Sim) resumeLogs(pod *Pod) {
	for _, c := range allContainers(pod) {
		if status := containerStatus(pod, c.Name); status != nil && status.ContainerID != "" {
			s.startLog(pod, c, 0)
			if status.State.Running == nil {
				s.logs[pod.UID][c.Name].current.ended = true
			}
		}
	}
}
