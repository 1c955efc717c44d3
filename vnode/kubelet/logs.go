package kubelet

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// logHandler serves /containerLogs.
type logHandler struct {
	pods   Pods
	logger *slog.Logger
}

// ServeHTTP streams a log. An error after the first byte can only end the stream.
func (h *logHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	options, err := parseLogOptions(r.URL.Query(), time.Now())
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	options.Container = r.PathValue("container")
	stream, err := h.pods.Logs(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), options)
	if err != nil {
		refuse(w, r, statusOf(err), err.Error())
		return
	}
	defer stream.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	if err := copyFlushing(w, stream); err != nil && r.Context().Err() == nil {
		h.logger.Warn("a log stream failed", "path", r.URL.Path, "err", err)
	}
}

// copyFlushing copies the stream and flushes after each read, so that a caller who follows the log sees each line
// immediately.
func copyFlushing(w http.ResponseWriter, stream io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		_ = control.SetWriteDeadline(time.Now().Add(idleTimeout)) // For a caller that does not read.
		if err := control.Flush(); err != nil {
			return err
		}
		n, err := stream.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
