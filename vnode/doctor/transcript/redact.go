package transcript

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// leftOut stands for what is removed because no reader needs it.
const leftOut = "(left out)"

// Redactor replaces what identifies an account: known values and their encodings, and everything that looks like an ID,
// an address or a key. The same value always gets the same placeholder.
type Redactor struct {
	// known are the placeholders of known values.
	known map[string]string
	// found are the placeholders of values that were found by their form.
	found map[string]string
	// prefix begins the names of the namespaces whose contents are kept.
	prefix string
}

// NewRedactor returns a Redactor. Of lists, only the objects in namespaces whose names begin with prefix are kept, and
// these namespaces themselves: all other objects belong to users.
func NewRedactor(prefix string) *Redactor {
	return &Redactor{known: map[string]string{}, found: map[string]string{}, prefix: prefix}
}

// Hide replaces a value by a placeholder. Empty values are ignored.
func (r *Redactor) Hide(placeholder, value string) {
	if value != "" && r.known[value] == "" {
		r.known[value] = placeholder
	}
}

// HideAll replaces several values by numbered placeholders.
func (r *Redactor) HideAll(placeholder string, values []string) {
	for i, value := range values {
		r.Hide(fmt.Sprintf("%s-%d", placeholder, i+1), value)
	}
}

// minEncoded is the length from which a value is also searched for inside longer texts in base64 and hex. The encodings
// of shorter values occur by chance.
const minEncoded = 6

// forms returns a value in all encodings in which it can occur. Inside a longer text in base64 it has one of three
// forms, depending on where it begins.
func forms(value string) []string {
	all := []string{value, url.QueryEscape(value), url.PathEscape(value)}
	if quoted, err := json.Marshal(value); err == nil {
		all = append(all, strings.Trim(string(quoted), `"`))
	}
	if len(value) < minEncoded {
		return all
	}
	all = append(all, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))))
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			// The first and the last characters depend on the neighbors too.
			begin := []int{0, 2, 3}[before]
			if (before+len(value))%3 != 0 {
				text = text[:len(text)-1]
			}
			all = append(all, text[begin:])
		}
	}
	return all
}

// replacer replaces the known values, the longest first.
func (r *Redactor) replacer() *strings.Replacer {
	placeholders := map[string]string{}
	for value, placeholder := range r.known {
		for _, form := range forms(value) {
			placeholders[form] = placeholder
		}
	}
	values := slices.SortedFunc(maps.Keys(placeholders), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, value := range values {
		pairs = append(pairs, value, placeholders[value])
	}
	return strings.NewReplacer(pairs...)
}

// identifying matches what identifies an account by its form: names in resource names of IAM, UUIDs, IDs of 32
// hexadecimal digits, access keys, addresses, and tokens.
var identifying = regexp.MustCompile(strings.Join([]string{
	`iam::[^\s"',]+`,
	`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b`,
	`\b[0-9a-fA-F]{32}\b`,
	`\b[A-Z0-9]{20}\b`,
	`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`,
	`\b[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}\b`,
	`[A-Za-z0-9+/_-]{200,}={0,2}`,
}, "|"))

// placeholder returns a value of the same form.
func (r *Redactor) placeholder(value string) string {
	if known := r.found[value]; known != "" {
		return known
	}
	n := len(r.found) + 1
	var out string
	address, err := netip.ParseAddr(value)
	switch {
	case err == nil && (address.IsLoopback() || address.IsUnspecified()):
		return value
	case err == nil && address.Is4(): // 198.18.0.0/15 is for tests (RFC 2544).
		out = fmt.Sprintf("198.18.%d.%d", n/250, n%250+1)
	case err == nil:
		out = fmt.Sprintf("2001:db8::%x", n)
	case strings.HasPrefix(value, "iam::"):
		out = fmt.Sprintf("iam::account-%d", n)
	case len(value) == 36 && value[8] == '-':
		out = fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	case len(value) == 32 && !strings.ContainsAny(value, ":."):
		out = fmt.Sprintf("%032d", n)
	case len(value) == 20 && !strings.ContainsAny(value, ":."):
		out = fmt.Sprintf("ACCESSKEY%011d", n)
	case strings.ContainsAny(value, ":."):
		return value // A time, or a version.
	default:
		return leftOut
	}
	r.found[value] = out
	return out
}

// text redacts one text.
func (r *Redactor) text(replacer *strings.Replacer, text string) string {
	return identifying.ReplaceAllStringFunc(replacer.Replace(text), r.placeholder)
}

// Write writes a transcript: one line of JSON for each exchange. It fails without writing anything if a known value is
// left in what it would write.
func (r *Redactor) Write(w io.Writer, exchanges []Exchange) error {
	var out bytes.Buffer
	replacer := r.replacer()
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	for _, e := range exchanges {
		if err := encoder.Encode(r.exchange(replacer, e)); err != nil {
			return fmt.Errorf("encoding the transcript: %w", err)
		}
	}
	for value, placeholder := range r.known {
		for _, form := range forms(value) {
			if len(value) >= minEncoded && bytes.Contains(out.Bytes(), []byte(form)) {
				return fmt.Errorf("the transcript is not written: it would contain what %s stands for", placeholder)
			}
		}
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing the transcript: %w", err)
	}
	return nil
}

func (r *Redactor) exchange(replacer *strings.Replacer, e Exchange) Exchange {
	e.Path, e.Error, e.Text = r.text(replacer, e.Path), r.text(replacer, e.Error), r.text(replacer, e.Text)
	query := url.Values{}
	for name, values := range e.Query {
		for _, value := range values {
			query.Add(name, r.text(replacer, value))
		}
	}
	e.Query = query
	if e.Service != ServiceCCI { // Keys, tokens, and names that users have chosen.
		e.Request, e.Text = nil, ""
		if e.Status < http.StatusMultipleChoices {
			e.Answer = nil
		}
	}
	if strings.HasSuffix(e.Path, "/agency") { // Names and texts of the account.
		e.Answer = blank(e.Answer)
	}
	e.Request, e.Answer = r.json(replacer, e.Request, e.Path), r.json(replacer, e.Answer, e.Path)
	stream := e.Stream
	e.Stream = nil
	for _, event := range stream {
		e.Stream = append(e.Stream, r.json(replacer, event, e.Path))
	}
	return e
}

// blank replaces all texts of a JSON document.
func blank(document json.RawMessage) json.RawMessage {
	return texts.ReplaceAllFunc(document, func(match []byte) []byte {
		if bytes.HasSuffix(match, []byte(":")) {
			return match // The name of a field.
		}
		return quote(leftOut)
	})
}

// texts matches the texts of a JSON document, with the colon that follows the name of a field.
var texts = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(?:\s*:)?`)

// json redacts a JSON document.
func (r *Redactor) json(replacer *strings.Replacer, document json.RawMessage, path string) json.RawMessage {
	if len(document) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return quote(leftOut)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(r.value(replacer, value, strings.Contains(path, "/secrets"))) != nil {
		return quote(leftOut)
	}
	return bytes.TrimSpace(out.Bytes())
}

func quote(text string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(errors.New("a text cannot be encoded as JSON")) // It always can.
	}
	return quoted
}

// value redacts a part of a JSON document. Of Secrets, the data is removed.
func (r *Redactor) value(replacer *strings.Replacer, value any, secret bool) any {
	switch v := value.(type) {
	case string:
		return r.text(replacer, v)
	case []any:
		for i := range v {
			v[i] = r.value(replacer, v[i], secret)
		}
	case map[string]any:
		secret = secret || v["kind"] == "Secret"
		out := map[string]any{}
		for key, part := range v {
			switch {
			case secret && (key == "data" || key == "stringData"):
				part = emptied(part)
			case key == "items":
				part = r.items(part)
			}
			out[r.text(replacer, key)] = r.value(replacer, part, secret)
		}
		return out
	}
	return value
}

// emptied returns the data of a Secret without its values.
func emptied(data any) any {
	object, ok := data.(map[string]any)
	if !ok {
		return leftOut
	}
	out := map[string]any{}
	for key := range object {
		out[key] = ""
	}
	return out
}

// items empties the objects of a list that belong to users.
func (r *Redactor) items(value any) any {
	list, ok := value.([]any)
	if !ok {
		return value
	}
	for i := range list {
		object, _ := list[i].(map[string]any)
		meta, _ := object["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		namespace, _ := meta["namespace"].(string)
		if !strings.HasPrefix(name, r.prefix) && !strings.HasPrefix(namespace, r.prefix) {
			list[i] = map[string]any{}
		}
	}
	return list
}
