package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/internal/run"
)

// answer is how a command answers from the cluster.
type answer[T any] struct {
	// find reads the answer. It may block for API calls.
	find func(ctx context.Context, reader *cluster.Reader) (T, error)
	// text is the answer for people.
	text func(T) string
	// format is that of --output: json or yaml, or empty for text.
	format string
	// period is how often the answer is read again, and printed if it has changed. Zero: it is printed once.
	period time.Duration
}

// print prints the answer, until ctx ends if it is read again.
func (a answer[T]) print(ctx context.Context, o *options) error {
	render, err := renderer(a.format, a.text)
	if err != nil {
		return err
	}
	reader, err := o.newReader(ctx)
	if err != nil {
		return err
	}
	for printed := ""; ; {
		value, err := a.find(ctx, reader)
		if err != nil {
			return err
		}
		text, err := render(value)
		if err != nil {
			return err
		}
		if text != printed {
			if _, err := io.WriteString(o.Out, text); err != nil {
				return err
			}
			printed = text
		}
		if a.period == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is the way to end a watch.
		case <-time.After(a.period):
		}
	}
}

// renderer returns the function that writes a value in the format of --output, with text if that is empty.
func renderer[T any](format string, text func(T) string) (func(T) (string, error), error) {
	if format == "" {
		return func(value T) (string, error) { return text(value), nil }, nil
	}
	encode, err := encoder(format)
	return func(value T) (string, error) {
		encoded, err := encode(value)
		if err != nil {
			return "", fmt.Errorf("encoding the answer: %w", err)
		}
		return encoded, nil
	}, err
}

// encoder returns the function that encodes a value in the format of --output.
func encoder(format string) (func(any) (string, error), error) {
	switch format {
	case "json":
		return func(value any) (string, error) {
			var text bytes.Buffer
			encoder := json.NewEncoder(&text)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			err := encoder.Encode(value)
			return text.String(), err
		}, nil
	case "yaml":
		return func(value any) (string, error) {
			text, err := yaml.Marshal(value)
			return string(text), err
		}, nil
	default:
		return nil, fmt.Errorf("%w: --output: invalid value %q: must be json or yaml", run.ErrUsage, format)
	}
}
