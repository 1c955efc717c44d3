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

// Log is a record that is being made. Many goroutines may add to it at once.
type Log struct {
	now func() time.Time
	see func(Entry)

	mu      sync.Mutex
	entries []Entry
	file    *os.File
	writer  *bufio.Writer
	encoder *json.Encoder
	failed  error
}

// Create begins a record that is also written to a file, line by line. see is called with each entry, in order and one at a time: it
// must not block or add entries.
func Create(path string, now func() time.Time, see func(Entry)) (*Log, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("making the record: %w", err)
	}
	writer := bufio.NewWriter(file)
	return &Log{now: now, see: see, file: file, writer: writer, encoder: json.NewEncoder(writer)}, nil
}

// Add dates the entry and adds it.
func (l *Log) Add(entry Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.At = l.now()
	l.entries = append(l.entries, entry)
	if err := l.encoder.Encode(entry); err != nil && l.failed == nil {
		l.failed = fmt.Errorf("writing the record: %w", err)
	}
	l.see(entry)
}

// Entries returns what has been recorded so far. It must not be changed.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}

// Close completes the file. Nothing may be added afterwards.
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
