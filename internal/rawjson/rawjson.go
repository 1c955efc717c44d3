// Package rawjson decodes JSON from clients into objects of Kubernetes, and bounds what that costs first.
//
// The decoders of Go and apimachinery bound the size of neither numbers nor results. Parsing the quantity 1e-4000000
// takes a third of a second, and every two bytes of the list [1,1,...] become a container of half a kilobyte. Unmarshal
// rejects both before it decodes. It does not check anything else: what is valid JSON of a plausible size is decoded as
// encoding/json decodes it.
package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

const (
	// maxDepth is how deep objects and lists may be nested. A Deployment with managed fields needs about 15 levels. The
	// stack of scan has one bit for each level.
	maxDepth = 64
	// maxElements is how many elements all lists below the second level may have together. The largest objects that etcd
	// stores (1.5 MiB) have fewer, unless most of their elements are shorter than 30 bytes. The lists above are lists of
	// names, such as the nodes of a scheduler's request, and take less memory than their text.
	maxElements = 50_000
	// maxExponent is the longest exponent of a quantity, in digits. The API server stores no larger number than 2^63-1 of
	// any suffix, and rounds to 1e-9.
	maxExponent = 2
	// maxDigits is how many characters a quantity may have before its suffix.
	maxDigits = 64
)

// LimitError is the error for a text that would cost too much to decode.
type LimitError struct{ message string }

// Error implements error.
func (e *LimitError) Error() string { return e.message }

func limitf(format string, args ...any) error { return &LimitError{fmt.Sprintf(format, args...)} }

// Unmarshal decodes like json.Unmarshal. It returns a LimitError, and decodes nothing, if the text is nested too
// deeply, has too many elements, or has a number that takes long to parse where the target has a resource.Quantity.
func Unmarshal(text []byte, into any) error {
	scanned, err := Scan(text)
	if err != nil {
		return err
	}
	return scanned.Unmarshal(into)
}

// Text is a text whose structure is within the limits.
type Text struct {
	raw      []byte
	elements int
	// suspicious: a number or a string in the text is a quantity that takes long to parse.
	suspicious bool
}

// Unmarshal decodes the text. It returns a LimitError, and decodes nothing, if that would parse a quantity that takes
// long.
func (t Text) Unmarshal(into any) error {
	// A hash can look like such a quantity. So find out what the decoder would parse. That is slow but rarely necessary.
	if t.suspicious {
		if err := checkQuantities(t.raw, into); err != nil {
			return err
		}
	}
	return json.Unmarshal(t.raw, into)
}

// Memory estimates how many bytes a handler needs for the decoded object and its copies.
func (t Text) Memory() int64 { return 10*int64(len(t.raw)) + 1000*int64(t.elements) }

// Elements returns how many elements the lists below the second level have together.
func (t Text) Elements() int { return t.elements }

// Scan checks the limits of the structure. It reads the text once and allocates nothing. It does not validate the text:
// of a malformed one it says anything, and the decoder rejects it.
func Scan(raw []byte) (Text, error) {
	text := Text{raw: raw}
	var inList uint64 // One bit for each level, the innermost last: whether it is a list.
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '"':
			end := endOfString(raw, i+1)
			text.suspicious = text.suspicious || isSuspicious(raw[i+1:end])
			i = end
		case '{', '[':
			if depth++; depth > maxDepth {
				return Text{}, limitf("the JSON is nested more than %d levels deep", maxDepth)
			}
			inList <<= 1
			if c == '[' {
				inList |= 1
				text.countElement(depth)
			}
		case '}', ']':
			depth--
			inList >>= 1
		case ',':
			if inList&1 == 1 {
				text.countElement(depth)
			}
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			end := i + 1
			for end < len(raw) && isNumeric(raw[end]) {
				end++
			}
			text.suspicious = text.suspicious || isSuspicious(raw[i:end])
			i = end - 1
		}
	}
	if text.elements > maxElements {
		return Text{}, limitf("the JSON has %d elements in its lists: must be at most %d", text.elements, maxElements)
	}
	return text, nil
}

// countElement counts an element of a list at this depth.
func (t *Text) countElement(depth int) {
	if depth > 2 {
		t.elements++
	}
}

// isNumeric reports whether a number continues with the character.
func isNumeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '-' || c == '+'
}

// endOfString returns the index of the quotation mark that ends the string that begins at from.
func endOfString(text []byte, from int) int {
	for i := from; ; {
		next := bytes.IndexByte(text[i:], '"')
		if next < 0 {
			return len(text)
		}
		i += next
		backslashes := 0
		for i-backslashes > from && text[i-backslashes-1] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i
		}
		i++
	}
}

// isSuspicious reports whether a number, or the text of a string, is a quantity that takes long to parse. Escapes do
// not matter: resource.Quantity parses the text as it is between the quotation marks.
func isSuspicious(text []byte) bool {
	if len(text) <= maxExponent+1 || text[0] > '9' && text[0] < utf8.RuneSelf { // The usual text, which is no number.
		return false
	}
	text = bytes.TrimSpace(text) // So does resource.Quantity.
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	digits := i
	for i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] == '.') {
		i++
	}
	if i-digits > maxDigits {
		return true
	}
	if i >= len(text) || text[i]|0x20 != 'e' {
		return false
	}
	if i++; i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	for i < len(text) && text[i] == '0' {
		i++
	}
	exponent := i
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return i-exponent > maxExponent
}
