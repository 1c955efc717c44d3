package logging

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
)

// library is the handler of klog, which libraries use. It gives objects the keys of Keys. And it lowers errors to debug
// level that are not errors of the program: that the program or a connection is shutting down, and errors that the
// streaming library of the kubelet port also returns to the client (a command that cannot run, a port without a
// listener).
type library struct{ slog.Handler }

// answers are the prefixes of errors that the client receives. Source: k8s.io/cri-streaming, remotecommand/exec.go and
// portforward/httpstream.go.
var answers = []string{"error executing command in container: ", "error forwarding port ", "unable to upgrade: "}

// Handle implements slog.Handler.
func (l library) Handle(ctx context.Context, record slog.Record) error {
	if isNoTrouble(record) {
		record.Level = slog.LevelDebug
		if !l.Enabled(ctx, record.Level) {
			return nil
		}
	}
	renamed := slog.NewRecord(record.Time, record.Level, record.Message, record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		renamed.AddAttrs(fromKlog(attr))
		return true
	})
	return l.Handler.Handle(ctx, renamed)
}

func isNoTrouble(record slog.Record) (found bool) {
	record.Attrs(func(attr slog.Attr) bool {
		if attr.Key != "err" {
			return true
		}
		err, _ := attr.Value.Any().(error)
		begins := func(answer string) bool { return strings.HasPrefix(attr.Value.String(), answer) }
		found = errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) ||
			record.Message == "Unhandled Error" && slices.ContainsFunc(answers, begins)
		return false
	})
	return found
}

// WithAttrs implements slog.Handler.
func (l library) WithAttrs(attrs []slog.Attr) slog.Handler {
	renamed := make([]slog.Attr, 0, len(attrs))
	for _, attr := range attrs {
		renamed = append(renamed, fromKlog(attr))
	}
	return library{l.Handler.WithAttrs(renamed)}
}

// WithGroup implements slog.Handler.
func (l library) WithGroup(name string) slog.Handler { return library{l.Handler.WithGroup(name)} }
