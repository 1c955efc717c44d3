// Package credentials keeps the keys that requests to the cloud are signed with as new as their source: a file, a mounted Secret, or the
// agency of the machine or the Pod. It renews no key itself but those that the cloud gives for an agency: whoever rotates a file writes it.
package credentials

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// look is how often a source is read again: a rotated key counts a second later.
const look = time.Second

// Source gives credentials, and asks for them again while it is used. Its method may be called by many goroutines at once.
type Source struct {
	read   func() (cci.Credentials, error)
	now    func() time.Time
	logger *slog.Logger

	// reading is held by who reads; the others sign with what there is.
	reading sync.Mutex

	mu     sync.Mutex
	kept   cci.Credentials
	looked time.Time
	fault  string
}

// FromFile reads path for the first time: see Read. It is read again at most once a second.
func FromFile(path string, logger *slog.Logger) (*Source, error) {
	return newSource(func() (cci.Credentials, error) { return Read(path) }, logger)
}

func newSource(read func() (cci.Credentials, error), logger *slog.Logger) (*Source, error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	return &Source{read: read, now: time.Now, logger: logger, kept: first, looked: time.Now()}, nil
}

// Current is what the next request is signed with. A source that cannot be read, or is half written, changes nothing and is told of once.
// It may block for as long as its source takes to answer.
func (s *Source) Current() cci.Credentials {
	if !s.due() || !s.reading.TryLock() {
		return s.last()
	}
	defer s.reading.Unlock()
	fresh, err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = s.now()
	if err != nil {
		if err.Error() != s.fault {
			s.logger.Error("the cloud's credentials cannot be read: those of before are used", "credentials", s.kept, "err", err)
		}
		s.fault = err.Error()
		return s.kept
	}
	if fresh != s.kept || s.fault != "" {
		s.logger.Info("the cloud's credentials have been read again", "credentials", fresh)
	}
	s.kept, s.fault = fresh, ""
	return s.kept
}

func (s *Source) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Sub(s.looked) >= look
}

func (s *Source) last() cci.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// Read reads a YAML file (see cci.ReadCredentials), or a directory with files of the names that are its fields: a mounted Secret.
func Read(path string) (cci.Credentials, error) {
	info, err := os.Stat(path)
	if err != nil {
		return cci.Credentials{}, fmt.Errorf("reading the cloud credentials: %w", err)
	}
	if !info.IsDir() {
		return cci.ReadCredentials(path)
	}
	c, err := readDir(snapshot(path))
	if err != nil {
		return cci.Credentials{}, fmt.Errorf("reading the cloud credentials from %s: %w", path, err)
	}
	return c, nil
}

// snapshot is the directory that the kubelet's link points to at this moment: it swaps all files of a Secret at once, and what is read
// through the link one after the other may be of two versions.
func snapshot(dir string) string {
	if version, err := filepath.EvalSymlinks(filepath.Join(dir, "..data")); err == nil {
		return version
	}
	return dir
}

func readDir(dir string) (cci.Credentials, error) {
	var c cci.Credentials
	var faults []error
	for _, field := range []struct {
		name  string
		value *string
	}{{"accessKey", &c.AccessKey}, {"secretKey", &c.SecretKey}, {"securityToken", &c.SecurityToken}, {"authToken", &c.AuthToken}} {
		data, err := os.ReadFile(filepath.Join(dir, field.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
		*field.value = strings.TrimSpace(string(data))
	}
	return c, cmp.Or(errors.Join(faults...), c.Validate())
}
