package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
)

// kubeletLogger is a logger of virtual-kubelet that writes to slog. The adapter of the library panics when the library
// logs an error as the message, as node/podcontroller.go of v1.13.0 does.
type kubeletLogger struct {
	to *slog.Logger
	// ends: the error only says that the program shuts down. It is logged at debug level.
	ends bool
}

// misleading are messages of the library that are not true here, and that are logged at debug level: a Pod that was
// passed to the provider is not yet created in the cloud; a Pod may still be Running in the API server when it is
// deleted; and after five attempts to renew a Lease the last failure is logged again.
var misleading = []string{
	"Created pod in provider", "Force deleting pod in running state", "failed to update node lease",
}

func (l kubeletLogger) log(level slog.Level, text string) {
	if l.ends || slices.Contains(misleading, text) {
		level = slog.LevelDebug
	}
	l.to.Log(context.Background(), level, text)
}

func (l kubeletLogger) Debug(args ...any)            { l.log(slog.LevelDebug, fmt.Sprint(args...)) }
func (l kubeletLogger) Debugf(form string, a ...any) { l.log(slog.LevelDebug, fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Info(args ...any)             { l.log(slog.LevelInfo, fmt.Sprint(args...)) }
func (l kubeletLogger) Infof(form string, a ...any)  { l.log(slog.LevelInfo, fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Warn(args ...any)             { l.log(slog.LevelWarn, fmt.Sprint(args...)) }
func (l kubeletLogger) Warnf(form string, a ...any)  { l.log(slog.LevelWarn, fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Error(args ...any)            { l.log(slog.LevelError, fmt.Sprint(args...)) }
func (l kubeletLogger) Errorf(form string, a ...any) { l.log(slog.LevelError, fmt.Sprintf(form, a...)) }

// Fatal and Fatalf only log: a program exits in main.
func (l kubeletLogger) Fatal(args ...any)            { l.Error(args...) }
func (l kubeletLogger) Fatalf(form string, a ...any) { l.Errorf(form, a...) }

func (l kubeletLogger) WithField(key string, value any) vklog.Logger {
	return kubeletLogger{l.to.With(key, value), l.ends}
}

func (l kubeletLogger) WithFields(fields vklog.Fields) vklog.Logger {
	to := l.to
	for key, value := range fields {
		to = to.With(key, value)
	}
	return kubeletLogger{to, l.ends}
}

// WithError logs the message of the error only: errors of the library print their stacks.
func (l kubeletLogger) WithError(err error) vklog.Logger {
	return kubeletLogger{l.to.With("err", fmt.Sprint(err)), errors.Is(err, context.Canceled)}
}
