package services

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// writeLimit is how long a client may take for what was written at once, of chunkSize about.
const writeLimit = 10 * time.Second

// errBlocked is the error of a client that does not read.
var errBlocked = errors.New("the client does not read")

// sender writes the body of a response of objects of one kind.
type sender struct {
	kind    kind
	metrics *metrics
	// compressed says that the client accepts gzip.
	compressed bool
	writer     http.ResponseWriter
	control    *http.ResponseController
	// limit is how long a write may take.
	limit time.Duration
}

// buffers holds *[]byte, so that a stream has memory only while it sends.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *Server) newSender(w http.ResponseWriter, r *http.Request, kind kind) sender {
	// Clients in Go accept gzip, and decompress what is made of several files.
	accepts := strings.Join(r.Header.Values("Accept-Encoding"), ",")
	return sender{kind, s.metrics, strings.Contains(accepts, "gzip"), w, http.NewResponseController(w), s.writeLimit}
}

// start sends the header of the response.
func (s *sender) start() {
	header := s.writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-cache, private")
	if s.compressed {
		header.Set("Content-Encoding", "gzip")
	}
	s.writer.WriteHeader(http.StatusOK)
}

// text appends what no other client gets, as the client gets it.
func (s *sender) text(to, text []byte) []byte {
	if s.compressed {
		text = compress(text)
	}
	return append(to, text...)
}

// write writes to the client. It blocks until the client has room for it, for writeLimit at most.
func (s *sender) write(bytes []byte) error {
	if len(bytes) == 0 {
		return nil
	}
	began := time.Now()
	if err := s.control.SetWriteDeadline(began.Add(s.limit)); err != nil {
		return fmt.Errorf("limiting the time of a write: %w", err)
	}
	n, err := s.writer.Write(bytes)
	s.metrics.bytes.WithLabelValues(s.kind.name).Add(float64(n))
	switch {
	case err != nil && time.Since(began) >= s.limit: // HTTP/2 has no error of its own for it.
		return fmt.Errorf("%w: %w", errBlocked, err)
	case err != nil:
		return fmt.Errorf("writing to a client: %w", err)
	}
	return nil
}

// flush sends what was written. The response may then be silent for as long as nothing changes.
func (s *sender) flush() error {
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("writing to a client: %w", err)
	}
	if err := s.control.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("ending the limit of the time of a write: %w", err)
	}
	return nil
}

// inChunks calls write with the text that each object has, many at once, and returns how many objects the view shows.
func inChunks(
	objects []*object, v view, text func(to []byte, o *object) []byte, write func([]byte) error,
) (shown int, err error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	chunk := (*buffer)[:0]
	for _, object := range objects {
		if !v.shows(object) {
			continue
		}
		shown++
		if chunk = text(chunk, object); len(chunk) >= chunkSize {
			if err := write(chunk); err != nil {
				return shown, err
			}
			chunk = chunk[:0]
		}
	}
	*buffer = chunk
	if len(chunk) == 0 {
		return shown, nil
	}
	return shown, write(chunk)
}
