// Package logging sets up the one logger of a program, and makes the libraries that log on their own (klog, logr,
// virtual-kubelet) use it.
package logging

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

// AddFlags binds the flags --log-level and --log-format.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Level, "log-level", c.Level, "debug, info, warn or error")
	flags.StringVar(&c.Format, "log-format", c.Format, "text or json")
}

// Validate returns every error at once. path is the field that holds this part of the configuration.
func (c Config) Validate(path *field.Path) field.ErrorList {
	_, errs := c.handler(path, io.Discard)
	return errs
}

// SetUp creates the program's logger, which writes to w, and hands it to slog, klog, logr and virtual-kubelet. It
// changes globals of the process: call it once, from main.
func SetUp(c Config, w io.Writer) (*slog.Logger, error) {
	handler, errs := c.handler(field.NewPath("logging"), w)
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	logger := slog.New(handler)
	slog.SetDefault(logger)
	klog.SetSlogLogger(slog.New(library{handler}))
	ctrllog.SetLogger(logr.FromSlogHandler(handler))
	vklog.L = kubeletLogger{to: logger}
	return logger, nil
}

func (c Config) handler(path *field.Path, w io.Writer) (slog.Handler, field.ErrorList) {
	var level slog.Level
	var errs field.ErrorList
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		errs = append(errs, field.Invalid(path.Child("level"), c.Level, "must be debug, info, warn or error"))
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	var handler slog.Handler
	switch c.Format {
	case "text":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		errs = append(errs, field.Invalid(path.Child("format"), c.Format, "must be text or json"))
	}
	return handler, errs
}
