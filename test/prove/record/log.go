package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Log is a record that is being written. It is safe for concurrent use.
type Log struct {
	now     func() time.Time
	observe func(Entry)

	mu      sync.Mutex
	entries []Entry
	file    *os.File
	writer  *bufio.Writer
	encoder *json.Encoder
	failed  error
}

// Create creates a record, which is also written to a file, one line per entry. The function observe is called with
// each entry, in order and never concurrently. It must not block or add entries.
func Create(path string, now func() time.Time, observe func(Entry)) (*Log, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the record: %w", err)
	}
	writer := bufio.NewWriter(file)
	return &Log{now: now, observe: observe, file: file, writer: writer, encoder: json.NewEncoder(writer)}, nil
}

// Add sets the time of the entry and adds it.
func (l *Log) Add(entry Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.At = l.now()
	l.entries = append(l.entries, entry)
	if err := l.encoder.Encode(entry); err != nil && l.failed == nil {
		l.failed = fmt.Errorf("writing the record: %w", err)
	}
	l.observe(entry)
}

// Entries returns all entries so far. The caller must not change them.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}

// Close completes the file. No entry may be added afterwards.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failed, l.writer.Flush(), l.file.Close())
}

// Read reads a record from a file.
func Read(path string) ([]Entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	defer file.Close()
	var entries []Entry
	for decoder := json.NewDecoder(bufio.NewReader(file)); ; {
		var entry Entry
		err := decoder.Decode(&entry)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading entry %d of the record %s: %w", len(entries)+1, path, err)
		}
		entries = append(entries, entry)
	}
}
