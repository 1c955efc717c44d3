// Package logging sets up the one logger of a program, and makes the libraries that log on their own (klog, logr,
// virtual-kubelet) use it.
package logging

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
	vkslog "github.com/virtual-kubelet/virtual-kubelet/log/slog"
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

// Validate reports what is wrong with the configuration.
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
	klog.SetSlogLogger(logger)
	ctrllog.SetLogger(logr.FromSlogHandler(handler))
	vklog.L = vkslog.FromSlog(logger)
	return logger, nil
}

func (c Config) handler(w io.Writer) (slog.Handler, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("logging.level: invalid value %q: must be debug, info, warn or error", c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case "text":
		return slog.NewTextHandler(w, options), nil
	case "json":
		return slog.NewJSONHandler(w, options), nil
	}
	return nil, fmt.Errorf("logging.format: invalid value %q: must be text or json", c.Format)
}
