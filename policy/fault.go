package policy

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Fault is a malformed key of an object: what is wrong with its value, and what would be right. The parsers of this package return
// nothing else; several at once are joined (Faults).
type Fault struct {
	// Key is the label or annotation.
	Key string
	// Path leads to the place within the key's value, such as "[0].policyType"; empty for the value as a whole.
	Path string
	// Kind is the kind of the fault: field.ErrorTypeInvalid, ErrorTypeDuplicate or ErrorTypeRequired.
	Kind field.ErrorType
	// Value is what stands there; it means nothing with ErrorTypeRequired.
	Value string
	// Right says what would be right.
	Right string
	// Cause is why the value could not be read, nil where Right says all.
	Cause error
}

// Error is the fault in one sentence.
func (f *Fault) Error() string {
	text := f.Right
	switch f.Kind {
	case field.ErrorTypeRequired:
	case field.ErrorTypeDuplicate:
		text = fmt.Sprintf("duplicate value %.200q: %s", f.Value, f.Right)
	default:
		text = fmt.Sprintf("invalid value %.200q: %s", f.Value, f.Right)
	}
	if f.Cause != nil {
		text += ": " + f.Cause.Error()
	}
	return f.Key + f.Path + ": " + text
}

// Unwrap is the cause.
func (f *Fault) Unwrap() error { return f.Cause }

func invalidValue(key, path, value, right string) *Fault {
	return &Fault{Key: key, Path: path, Kind: field.ErrorTypeInvalid, Value: value, Right: right}
}

// CheckKeys reads all keys that a Pod bears itself, and reports every malformed one, whether it matters to this Pod or not.
func CheckKeys(pod *corev1.Pod) error {
	_, modeErr := ParseMode(pod.Labels)
	_, _, quotaErr := ParseLocalReplicas(pod.Annotations)
	_, switchErr := ParseSwitch(pod.Annotations)
	_, replacementsErr := ParseReplacements(pod.Annotations)
	return errors.Join(modeErr, quotaErr, switchErr, replacementsErr)
}

// Faults takes an error of this package's parsers apart into its faults, in their order. Errors of others are left out.
func Faults(err error) []*Fault {
	switch err := err.(type) {
	case *Fault:
		return []*Fault{err}
	case interface{ Unwrap() []error }:
		var found []*Fault
		for _, part := range err.Unwrap() {
			found = append(found, Faults(part)...)
		}
		return found
	}
	return nil
}
