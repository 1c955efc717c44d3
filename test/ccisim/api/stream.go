package api

import (
	"context"
	"net/http"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
)

// streamWriter writes a response in pieces.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	// injected returns the faults of the next piece.
	injected func() faults.WriteFaults
}

// write writes a piece, and reports whether the client is still connected.
func (s *streamWriter) write(piece []byte) bool {
	injected := s.injected()
	if injected.Half {
		_, _ = s.w.Write(piece[:len(piece)/2])
		_ = s.control.Flush()
		s.abort()
	}
	if injected.Twice {
		if _, err := s.w.Write(piece); err != nil {
			return false
		}
	}
	_, err := s.w.Write(piece)
	return err == nil && s.ctx.Err() == nil
}

// flush sends what has been written.
func (s *streamWriter) flush() bool { return s.control.Flush() == nil }

// abort closes the connection without ending the response properly.
func (s *streamWriter) abort() { panic(http.ErrAbortHandler) }
