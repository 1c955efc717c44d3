package command

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/run"
)

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
