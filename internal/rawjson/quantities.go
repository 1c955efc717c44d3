package rawjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// checkQuantities returns a LimitError if the decoder would parse a suspicious number or string as a resource.Quantity
// of the target. A malformed text is left to the decoder.
func checkQuantities(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	w := walk{decoder: decoder}
	w.value(reflect.TypeOf(into))
	return w.found
}

// walk goes through a text and the type of its target at the same time.
type walk struct {
	decoder *json.Decoder
	path    []string
	found   error
}

// value reads one value. target is nil if the decoder does not look into the value. It returns false at the end.
func (w *walk) value(target reflect.Type) bool {
	token, err := w.decoder.Token()
	if err != nil {
		return false
	}
	for target != nil && target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	switch token := token.(type) {
	case json.Delim:
		return w.members(token == '{', target)
	case string:
		return w.literal(token, target)
	case json.Number:
		return w.literal(token.String(), target)
	}
	return true
}

func (w *walk) members(object bool, target reflect.Type) bool {
	for w.decoder.More() {
		member := elementOf(target)
		if object {
			key, err := w.decoder.Token()
			if err != nil {
				return false
			}
			name, _ := key.(string)
			member = memberOf(target, name)
			w.path = append(w.path, name)
		}
		if !w.value(member) {
			return false
		}
		if object {
			w.path = w.path[:len(w.path)-1]
		}
	}
	_, err := w.decoder.Token() // The end of the object or list.
	return err == nil
}

func (w *walk) literal(text string, target reflect.Type) bool {
	if target != quantity || !isSuspicious([]byte(text)) {
		return true
	}
	w.found = limitf("%s: invalid quantity %.50q: must have at most %d digits, and an exponent of at most %d digits",
		strings.Join(w.path, "."), text, maxDigits, maxExponent)
	return false
}

var (
	quantity    = reflect.TypeFor[resource.Quantity]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// elementOf returns the type of the elements of a list, nil if the decoder does not decode them.
func elementOf(target reflect.Type) reflect.Type {
	if target != nil && (target.Kind() == reflect.Slice || target.Kind() == reflect.Array) && !decodesItself(target) {
		return target.Elem()
	}
	return nil
}

// memberOf returns the type of a member of an object, nil if the decoder ignores it. Like the decoder, it ignores the
// case of a name unless a field has exactly this one.
func memberOf(target reflect.Type, name string) reflect.Type {
	if target == nil || decodesItself(target) {
		return nil
	}
	if target.Kind() == reflect.Map {
		return target.Elem()
	}
	if target.Kind() != reflect.Struct {
		return nil
	}
	var similar reflect.Type
	for _, field := range reflect.VisibleFields(target) {
		known, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if known == "" {
			known = field.Name
		}
		if known == name {
			return field.Type
		}
		if similar == nil && strings.EqualFold(known, name) {
			similar = field.Type
		}
	}
	return similar
}

// decodesItself reports whether the decoder leaves a value to a method of its type. No such type of Kubernetes other
// than resource.Quantity parses quantities.
func decodesItself(target reflect.Type) bool {
	return reflect.PointerTo(target).Implements(unmarshaler)
}
