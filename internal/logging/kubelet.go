package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
)

// kubeletLogger is a logger of virtual-kubelet that writes to slog. The adapter of the library panics when the library
// logs an error as the message, as node/podcontroller.go of v1.13.0 does.
type kubeletLogger struct {
	to *slog.Logger
	// attrs have each key once: the library adds what it has added before.
	attrs []slog.Attr
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
	l.to.LogAttrs(context.Background(), level, text, l.attrs...)
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

func (l kubeletLogger) WithField(key string, value any) vklog.Logger { return l.with(key, value) }

func (l kubeletLogger) WithFields(fields vklog.Fields) vklog.Logger {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		l = l.with(key, fields[key])
	}
	return l
}

// kubeletKeys are the keys of the library for what has a key here.
var kubeletKeys = map[string]string{"name": "pod", "k8sPodUID": "uid", "node.name": "node"}

// with returns a logger with one more key, or two for a key of the library that holds the namespace and the name.
func (l kubeletLogger) with(key string, value any) kubeletLogger {
	l.attrs = slices.Clone(l.attrs)
	if text, ok := value.(string); ok && key == "key" {
		if namespace, name, ok := strings.Cut(text, "/"); ok {
			name, _, _ = strings.Cut(name, "/") // Some keys end with a UID.
			l.set("namespace", namespace)
			key, value = "pod", name
		}
	}
	l.set(cmp.Or(kubeletKeys[key], key), value)
	return l
}

func (l *kubeletLogger) set(key string, value any) {
	for i := range l.attrs {
		if l.attrs[i].Key == key {
			l.attrs[i].Value = slog.AnyValue(value)
			return
		}
	}
	l.attrs = append(l.attrs, slog.Any(key, value))
}

// WithError logs the message of the error only: errors of the library print their stacks.
func (l kubeletLogger) WithError(err error) vklog.Logger {
	l = l.with("err", fmt.Sprint(err))
	l.ends = errors.Is(err, context.Canceled)
	return l
}
