// Package logging sets up the one logger of a program, and makes the libraries that log on their own (klog, logr,
// virtual-kubelet) use it.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Config is how a program logs.
type Config struct {
	// Level is debug, info, warn or error. Default info; debug adds a line for each decision.
	Level string `json:"level"`
	// Format is text or json. Default text.
	Format string `json:"format"`
}

// Default returns the default configuration.
func Default() Config { return Config{Level: "info", Format: "text"} }

// Validate reports every fault at once.
func (c Config) Validate() error {
	_, err := c.handler(io.Discard)
	return err
}

// SetUp makes the program's logger, writing to w, and hands it to slog, klog, logr and virtual-kubelet. It changes process
// globals: call it once, from main.
func SetUp(c Config, w io.Writer) (*slog.Logger, error) {
	handler, err := c.handler(w)
	if err != nil {
		return nil, err
	}
	logger := slog.New(handler)
	slog.SetDefault(logger)
	klog.SetSlogLogger(slog.New(library{handler}))
	ctrllog.SetLogger(logr.FromSlogHandler(handler))
	vklog.L = kubeletLogger{to: logger}
	return logger, nil
}

func (c Config) handler(w io.Writer) (slog.Handler, error) {
	var level slog.Level
	var faults []error
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		faults = append(faults, fmt.Errorf("logging.level: invalid value %q: must be debug, info, warn or error", c.Level))
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch c.Format {
	case "text":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		faults = append(faults, fmt.Errorf("logging.format: invalid value %q: must be text or json", c.Format))
	}
	return handler, errors.Join(faults...)
}
