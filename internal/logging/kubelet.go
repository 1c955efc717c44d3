package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
)

// kubeletLogger is virtual-kubelet's logger on slog. The library brings one of its own, which panics where the library
// itself logs an error as the message: node/podcontroller.go does, in v1.13.0.
type kubeletLogger struct {
	to *slog.Logger
	// ends: the error of the line only says that the program ends, which is for who debugs it.
	ends bool
}

// misleading are lines of the library that say what is not so here, and are for who debugs it: a Pod that has been
// handed over is not created in the cloud yet; one that is deleted last in the cloud may be running by the API server's
// word to its end; and a Lease is tried to be renewed five times in a row, of which the last failure is logged once
// more.
var misleading = []string{"Created pod in provider", "Force deleting pod in running state", "failed to update node lease"}

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

// Fatal and Fatalf only log: a program ends in main.
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

// WithError logs the error's words alone: the library's own errors print their stacks.
func (l kubeletLogger) WithError(err error) vklog.Logger {
	return kubeletLogger{l.to.With("err", fmt.Sprint(err)), errors.Is(err, context.Canceled)}
}
