package rawjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
)

// Find returns the value at a path of a valid JSON text, nil if there is none. Each part of the path is the name of a
// member of an object or the index of an element of a list. Of members with the same name the last counts, as for the
// decoder. Find reads the text once, up to the value, and decodes nothing.
//
// What it returns of a text that is not valid is not defined: decode the text first.
func Find(text []byte, path ...string) []byte {
	start, end := locate(text, path)
	if start == end {
		return nil
	}
	return text[start:end:end]
}

// Cut returns the value that Find returns, nil also if it is null, and a copy of the text with null in its place. Both
// are valid JSON only if the text is. So a program can decode large values once, each into its own type. Without a
// value the rest is the text itself.
func Cut(text []byte, path ...string) (value, rest []byte) {
	start, end := locate(text, path)
	if start == end || string(text[start:end]) == null {
		return nil, text
	}
	rest = make([]byte, 0, len(text)-(end-start)+len(null))
	rest = append(append(append(rest, text[:start]...), null...), text[end:]...)
	return text[start:end:end], rest
}

const null = "null"

// locate returns where a value begins and ends, twice the same index if there is none.
func locate(text []byte, path []string) (start, end int) {
	start = skip(text, 0)
	for _, part := range path {
		at := find(text[start:], part)
		if at < 0 {
			return 0, 0
		}
		start += at
	}
	return start, endOfValue(text, start)
}

// Len returns the number of elements of a list, or of members of an object with repetitions, 0 for any other value. The
// text must be valid.
func Len(text []byte) int {
	count := 0
	for range values(text[skip(text, 0):]) {
		count++
	}
	return count
}

// find returns where a member or an element begins, -1 if there is none.
func find(value []byte, part string) int {
	found := -1
	isList, index := len(value) > 0 && value[0] == '[', 0
	for name, at := range values(value) {
		if isList {
			if strconv.Itoa(index) == part {
				return at
			}
			index++
		} else if isNamed(name, part) {
			found = at
		}
	}
	return found
}

// isNamed reports whether the text of a string, with its quotation marks, is a name.
func isNamed(text []byte, name string) bool {
	if bytes.IndexByte(text, '\\') < 0 && isASCII(text) {
		return string(text[1:len(text)-1]) == name
	}
	var decoded string
	return json.Unmarshal(text, &decoded) == nil && decoded == name
}

// isASCII reports whether a text has none of the bytes that the decoder may replace.
func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// values returns the names and the indices of the values of an object, or only the indices of those of a list.
func values(text []byte) iter.Seq2[[]byte, int] {
	return func(yield func(name []byte, at int) bool) {
		if len(text) == 0 || text[0] != '{' && text[0] != '[' {
			return
		}
		for i := skip(text, 1); i < len(text) && text[i] != '}' && text[i] != ']'; {
			var name []byte
			if text[0] == '{' {
				end := min(endOfString(text, i+1)+1, len(text))
				name = text[i:end]
				i = skip(text, skip(text, end)+1) // The colon.
			}
			if i >= len(text) || !yield(name, i) {
				return
			}
			if i = skip(text, endOfValue(text, i)); i < len(text) && text[i] == ',' {
				i = skip(text, i+1)
			}
		}
	}
}

// skip returns the index of the first character from i on that is not white space.
func skip(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}

// endOfValue returns the index after the value that begins at i.
func endOfValue(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			if i = endOfString(text, i+1); depth == 0 {
				return min(i+1, len(text))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // The end of what a number or a literal is in.
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}
