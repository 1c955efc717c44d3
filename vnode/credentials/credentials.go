// Package credentials keeps the keys that sign requests to the cloud up to date with their source: a file, a mounted
// Secret, or the agency of the machine or the Pod. It renews only temporary keys of an agency. Keys in a file or a
// Secret are rotated by writing them.
package credentials

import (
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

// readInterval is the shortest time between two reads of a source. A rotated key is used one second later.
const readInterval = time.Second

// Source implements cci.Source. It reads the credentials again while they are used. It is safe for concurrent use.
type Source struct {
	read   func() (cci.Credentials, error)
	now    func() time.Time
	logger *slog.Logger

	// reading is held by the caller that reads the source. The other callers use the present credentials.
	reading sync.Mutex

	mu       sync.Mutex
	current  cci.Credentials
	lastRead time.Time
	// lastError is the message of the last read, empty if it succeeded.
	lastError string
}

// FromFile returns the credentials in path (see Read). It fails if they cannot be read. Afterwards it reads them again
// at most once a second.
func FromFile(path string, logger *slog.Logger) (*Source, error) {
	return newSource(func() (cci.Credentials, error) { return Read(path) }, time.Now, logger)
}

func newSource(read func() (cci.Credentials, error), now func() time.Time, logger *slog.Logger) (*Source, error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	return &Source{read: read, now: now, logger: logger, current: first, lastRead: now()}, nil
}

// Current returns the credentials for the next request. If the source cannot be read, or is only partly written, it
// returns the previous credentials and logs the error once. It may block for as long as the source takes to answer.
func (s *Source) Current() cci.Credentials {
	if !s.isDue() || !s.reading.TryLock() {
		return s.last()
	}
	defer s.reading.Unlock()
	fresh, err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastRead = s.now()
	if err != nil {
		if err.Error() != s.lastError {
			s.logger.Error("cannot read the cloud credentials: using the previous ones", "credentials", s.current, "err", err)
		}
		s.lastError = err.Error()
		return s.current
	}
	if fresh != s.current || s.lastError != "" {
		s.logger.Info("the cloud credentials have been read again", "credentials", fresh)
	}
	s.current, s.lastError = fresh, ""
	return s.current
}

func (s *Source) isDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Sub(s.lastRead) >= readInterval
}

func (s *Source) last() cci.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Read reads a YAML file (see cci.ReadCredentials), or a directory that contains one file for each field, such as a
// mounted Secret. Errors never contain text of the files.
func Read(path string) (cci.Credentials, error) {
	info, err := os.Stat(path)
	if err != nil {
		return cci.Credentials{}, fmt.Errorf("reading the cloud credentials: %w", err)
	}
	if !info.IsDir() {
		return cci.ReadCredentials(path)
	}
	c, err := readDir(resolve(path))
	if err != nil {
		return cci.Credentials{}, fmt.Errorf("reading the cloud credentials from %s: %w", path, err)
	}
	return c, nil
}

// resolve returns the directory to which the kubelet's link ..data points at this moment. The kubelet replaces all
// files of a Secret at once by moving that link, so that files that are read one after the other through it can be of
// two versions. Source: Kubernetes v1.36, pkg/volume/util/atomic_writer.go.
func resolve(dir string) string {
	if version, err := filepath.EvalSymlinks(filepath.Join(dir, "..data")); err == nil {
		return version
	}
	return dir
}

func readDir(dir string) (cci.Credentials, error) {
	var c cci.Credentials
	var errs []error
	for _, field := range []struct {
		name  string
		value *string
	}{
		{"accessKey", &c.AccessKey}, {"secretKey", &c.SecretKey},
		{"securityToken", &c.SecurityToken}, {"authToken", &c.AuthToken},
	} {
		data, err := os.ReadFile(filepath.Join(dir, field.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		*field.value = strings.TrimSpace(string(data))
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	return c, c.Validate(nil).ToAggregate()
}
