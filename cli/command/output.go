package command

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/run"
)

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
