package logging

import (
	"fmt"
	"log/slog"

	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
)

// kubeletLogger is virtual-kubelet's logger on slog. The library brings one of its own, which panics where the library itself
// logs an error as the message: node/podcontroller.go does, in v1.13.0.
type kubeletLogger struct{ to *slog.Logger }

func (l kubeletLogger) Debug(args ...any)            { l.to.Debug(fmt.Sprint(args...)) }
func (l kubeletLogger) Debugf(form string, a ...any) { l.to.Debug(fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Info(args ...any)             { l.to.Info(fmt.Sprint(args...)) }
func (l kubeletLogger) Infof(form string, a ...any)  { l.to.Info(fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Warn(args ...any)             { l.to.Warn(fmt.Sprint(args...)) }
func (l kubeletLogger) Warnf(form string, a ...any)  { l.to.Warn(fmt.Sprintf(form, a...)) }
func (l kubeletLogger) Error(args ...any)            { l.to.Error(fmt.Sprint(args...)) }
func (l kubeletLogger) Errorf(form string, a ...any) { l.to.Error(fmt.Sprintf(form, a...)) }

// Fatal and Fatalf only log: a program ends in main.
func (l kubeletLogger) Fatal(args ...any)            { l.to.Error(fmt.Sprint(args...)) }
func (l kubeletLogger) Fatalf(form string, a ...any) { l.to.Error(fmt.Sprintf(form, a...)) }

func (l kubeletLogger) WithField(key string, value any) vklog.Logger {
	return kubeletLogger{l.to.With(key, value)}
}

func (l kubeletLogger) WithFields(fields vklog.Fields) vklog.Logger {
	to := l.to
	for key, value := range fields {
		to = to.With(key, value)
	}
	return kubeletLogger{to}
}

func (l kubeletLogger) WithError(err error) vklog.Logger { return kubeletLogger{l.to.With("err", err)} }
