package ccisim

import (
	"context"
	"net/http"
)

// streamWriter writes an answer piece by piece, each sent at once.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	// spoil asks the faults about the next piece.
	spoil func() writeSpoil
}

// write sends a piece, and reports whether the caller is still there.
func (s *streamWriter) write(piece []byte) bool {
	spoil := s.spoil()
	if spoil.half {
		_, _ = s.w.Write(piece[:len(piece)/2])
		_ = s.control.Flush()
		s.abort()
	}
	if spoil.twice {
		if _, err := s.w.Write(piece); err != nil {
			return false
		}
	}
	_, err := s.w.Write(piece)
	return err == nil && s.ctx.Err() == nil
}

// flush sends what has been written.
func (s *streamWriter) flush() bool { return s.control.Flush() == nil }

// abort closes the connection without ending the answer properly.
func (s *streamWriter) abort() { panic(http.ErrAbortHandler) }
