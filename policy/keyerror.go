package policy

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// KeyError is a malformed label or annotation: what is wrong with its value, and what would be right. All errors that
// the parsers of this package return are KeyErrors, several of them joined (KeyErrors).
type KeyError struct {
	// Key is the label or annotation.
	Key string
	// Path is the place within the value, such as "[0].policyType"; empty for the value as a whole.
	Path string
	// Kind is field.ErrorTypeInvalid, ErrorTypeDuplicate or ErrorTypeRequired.
	Kind field.ErrorType
	// Value is the value at Path. It is empty with ErrorTypeRequired.
	Value string
	// Right says what would be right.
	Right string
	// Cause is why the value could not be read, nil if Right says it all.
	Cause error
}

// Error returns one sentence.
func (f *KeyError) Error() string {
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

// Unwrap returns the cause.
func (f *KeyError) Unwrap() error { return f.Cause }

func invalidValue(key, path, value, right string) *KeyError {
	return &KeyError{Key: key, Path: path, Kind: field.ErrorTypeInvalid, Value: value, Right: right}
}

// CheckKeys reads all keys of a Pod itself, and returns every malformed one, even if it has no effect on this Pod.
func CheckKeys(pod *corev1.Pod) error {
	_, modeErr := ParseMode(pod.Labels)
	_, sharesErr := ParseShares(pod.Annotations)
	_, _, waitErr := ParseBurstAfter(pod.Annotations)
	_, _, wayHomeErr := ParseWayHome(pod.Annotations)
	_, switchErr := ParseSwitch(pod.Annotations)
	_, replacementsErr := ParseReplacements(pod.Annotations)
	return errors.Join(modeErr, sharesErr, waitErr, wayHomeErr, switchErr, replacementsErr)
}

// KeyErrors returns the KeyErrors of which an error of this package's parsers consists, in their order. Other errors
// are left out.
func KeyErrors(err error) []*KeyError {
	switch err := err.(type) {
	case *KeyError:
		return []*KeyError{err}
	case interface{ Unwrap() []error }:
		var found []*KeyError
		for _, part := range err.Unwrap() {
			found = append(found, KeyErrors(part)...)
		}
		return found
	}
	return nil
}
