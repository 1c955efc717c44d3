package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

const (
	// versionGap is added to the resource version at a restart. The history is not kept, so every version from before
	// must be too old to watch from.
	versionGap = 1000
	// journalSlack is how many bytes the file may grow beyond twice its last snapshot before it is rewritten.
	journalSlack = 4 << 20
)

// line is one line of the state file, which is a snapshot followed by the changes since. A line is written before the
// response that depends on it is sent, so that everything a client knows survives even a kill.
type line struct {
	Op string `json:"op"`
	// Version is the store's after the line.
	Version  uint64           `json:"version,omitempty"`
	Resource string           `json:"resource,omitempty"`
	Object   json.RawMessage  `json:"object,omitempty"`
	At       time.Time        `json:"at,omitzero"`
	Pod      *PodRecord       `json:"pod,omitempty"`
	Faults   []faults.Fault   `json:"faults,omitempty"`
	Policies *faults.Policies `json:"policies,omitempty"`
}

const (
	opPut      = "put"
	opDelete   = "delete"
	opPod      = "pod"
	opVersion  = "version"
	opFaults   = "faults"
	opPolicies = "policies"
)

// journal is the open state file.
type journal struct {
	path           string
	file           *os.File
	size, snapshot int64
	failed         error
}

// Close closes the state file, and returns the errors of all writes since it was opened. It is called last, and may be
// called twice. The store can still be used, but keeps nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	err := errors.Join(s.journal.failed, s.journal.file.Close())
	s.journal = nil
	if err != nil {
		return fmt.Errorf("closing state file %s: %w", s.cfg.StateFile, err)
	}
	return nil
}

// SaveFaults writes the present faults to the state file.
func (tx Tx) SaveFaults() { tx.s.append(line{Op: opFaults, Faults: tx.s.cfg.Faults.List()}) }

// SavePolicies writes the present policies to the state file.
func (tx Tx) SavePolicies() {
	policies := tx.s.cfg.Faults.Policies()
	tx.s.append(line{Op: opPolicies, Policies: &policies})
}

// recordChange adds a change to the history of Pods and to the state file.
func (s *Store) recordChange(res *objects.Resource, kind watch.EventType, e *Entry) {
	now := s.cfg.Clock.Now()
	if pod, ok := e.Object.(*objects.Pod); ok {
		switch kind {
		case watch.Added:
			s.cfg.Pods.created(recordOf(pod))
		case watch.Deleted:
			s.cfg.Pods.deleted(pod.UID, now)
		}
	}
	op := opPut
	if kind == watch.Deleted {
		op = opDelete
	}
	s.append(line{Op: op, Version: s.version, Resource: res.Plural, Object: e.Raw, At: now})
}

// append writes a line. A failure is logged at once and returned by Close, because the state would be lost silently
// otherwise.
func (s *Store) append(l line) {
	if s.journal == nil || s.journal.failed != nil {
		return
	}
	n, err := writeLine(s.journal.file, l)
	s.journal.size += n
	if err == nil && s.journal.size > 2*s.journal.snapshot+journalSlack {
		err = s.writeSnapshot()
	}
	if err != nil {
		s.journal.failed = err
		s.cfg.Logger.Error("Writing the state file failed: state will not survive a restart",
			"file", s.journal.path, "error", err)
	}
}

func writeLine(out io.Writer, l line) (int64, error) {
	data, err := json.Marshal(l)
	if err != nil {
		return 0, fmt.Errorf("encoding a line %s: %w", l.Op, err)
	}
	n, err := out.Write(append(data, '\n'))
	return int64(n), err
}

// writeSnapshot replaces the file with the present state, atomically, and appends to the new file from then on.
func (s *Store) writeSnapshot() error {
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

// writeState writes the whole state.
func (s *Store) writeState(out io.Writer) (int64, error) {
	lines := []line{{Op: opVersion, Version: s.version}}
	if s.cfg.Generation == objects.CCI2 {
		policies := s.cfg.Faults.Policies()
		lines = append(lines, line{Op: opPolicies, Policies: &policies}, line{Op: opFaults, Faults: s.cfg.Faults.List()})
		for _, record := range s.cfg.Pods.All() {
			lines = append(lines, line{Op: opPod, Pod: &record})
		}
	}
	for _, res := range objects.All {
		for _, e := range s.tables[res].sorted("") {
			lines = append(lines, line{Op: opPut, Version: s.version, Resource: res.Plural, Object: e.Raw})
		}
	}
	var size int64
	for _, l := range lines {
		n, err := writeLine(out, l)
		size += n
		if err != nil {
			return size, err
		}
	}
	return size, nil
}

// load reads the file, if it exists.
func (s *Store) load() error {
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
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// A line without an end was being written when the process was killed: its response was never sent.
			break
		}
		if err != nil {
			return err
		}
		if err := s.loadLine(raw); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	s.version += versionGap
	for _, t := range s.tables {
		t.compacted = s.version
	}
	return nil
}

func (s *Store) loadLine(raw []byte) error {
	var l line
	if err := json.Unmarshal(raw, &l); err != nil {
		return err
	}
	s.version = max(s.version, l.Version)
	switch l.Op {
	case opVersion:
	case opPod:
		if l.Pod == nil {
			return errors.New("a line about a Pod has none")
		}
		s.cfg.Pods.created(*l.Pod)
	case opPolicies:
		if l.Policies == nil {
			return errors.New("a line about policies has none")
		}
		return s.cfg.Faults.SetPolicies(*l.Policies)
	case opFaults:
		return s.loadFaults(l.Faults)
	case opPut, opDelete:
		return s.loadObject(l)
	default:
		return fmt.Errorf("unknown op %q", l.Op)
	}
	return nil
}

func (s *Store) loadFaults(list []faults.Fault) error {
	s.cfg.Faults.Remove("")
	for _, f := range list {
		if _, err := s.cfg.Faults.Add(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadObject(l line) error {
	res := objects.ResourceNamed(l.Resource)
	if res == nil {
		return fmt.Errorf("unknown resource %q", l.Resource)
	}
	obj := s.cfg.Generation.New(res)
	if err := json.Unmarshal(l.Object, obj); err != nil {
		return err
	}
	if l.Op == opDelete {
		s.tables[res].unset(objects.KeyOf(obj))
		s.cfg.Pods.deleted(obj.GetUID(), l.At)
		return nil
	}
	if _, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64); err != nil {
		return fmt.Errorf("object %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	s.tables[res].set(objects.KeyOf(obj), &Entry{Object: obj, Raw: l.Object})
	if pod, ok := obj.(*objects.Pod); ok {
		s.cfg.Pods.created(recordOf(pod))
	}
	return nil
}
