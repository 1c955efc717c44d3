package transcript

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// leftOut stands for what is removed because no reader needs it.
const leftOut = "(left out)"

// Redactor replaces what identifies an account: known values in whatever encoding, and everything that looks like an
// ID, an address, a name of a machine or a key. The same value always gets the same placeholder.
type Redactor struct {
	// known are the placeholders of known values.
	known map[string]string
	// found are the placeholders of values that were found by their form, issued are these placeholders.
	found  map[string]string
	issued map[string]bool
	// prefix begins the names of the namespaces whose contents are kept.
	prefix string
}

// NewRedactor returns a Redactor. Of lists, only the objects in namespaces whose names begin with prefix are kept, and
// these namespaces themselves: all other objects belong to users.
func NewRedactor(prefix string) *Redactor {
	return &Redactor{
		known: map[string]string{}, found: map[string]string{}, prefix: prefix, issued: map[string]bool{NoUID: true},
	}
}

// NoUID is a valid UID that no object has. It has the form of a placeholder, so that it stays in a transcript.
const NoUID = "00000000-0000-4000-8000-000000000000"

// Hide replaces a value by a placeholder. Empty values are ignored, and so are words of which all requests consist, and
// the placeholder itself: a replay is asked with it.
func (r *Redactor) Hide(placeholder, value string) {
	if value != "" && value != placeholder && r.known[value] == "" && !isOrdinary(value) {
		r.known[value] = placeholder
	}
}

// HideAll replaces several values by numbered placeholders.
func (r *Redactor) HideAll(placeholder string, values []string) {
	for i, value := range values {
		r.Hide(fmt.Sprintf("%s-%d", placeholder, i+1), value)
	}
}

// Write writes a transcript: a line of JSON with its format, and one for each exchange. It fails without writing
// anything if a known value is left in what it would write.
func (r *Redactor) Write(w io.Writer, exchanges []Exchange) error {
	var out bytes.Buffer
	values := newMatcher(r.known)
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(header{Format}); err != nil {
		return fmt.Errorf("encoding the transcript: %w", err)
	}
	for _, e := range exchanges {
		if err := encoder.Encode(r.exchange(values, e)); err != nil {
			return fmt.Errorf("encoding the transcript: %w", err)
		}
	}
	if left := r.left(out.String()); left != "" {
		return fmt.Errorf("the transcript is not written: it would contain what %s stands for", left)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing the transcript: %w", err)
	}
	return nil
}

// left returns the placeholder of a known value that is left in a text, empty if there is none. Placeholders may
// contain a value, such as an account of the name "example".
func (r *Redactor) left(text string) string {
	pairs := []string{leftOut, "\n", Format, "\n"}
	placeholders := append(slices.Collect(maps.Values(r.known)), slices.Collect(maps.Keys(r.issued))...)
	slices.SortFunc(placeholders, func(a, b string) int { return len(b) - len(a) })
	for _, placeholder := range placeholders {
		pairs = append(pairs, placeholder, "\n")
	}
	searched := maps.Clone(r.known)
	maps.DeleteFunc(searched, func(value, _ string) bool { return len(value) < minEncoded })
	return newMatcher(searched).find(strings.NewReplacer(pairs...).Replace(text))
}

// text redacts one text.
func (r *Redactor) text(values *matcher, text string) string {
	return r.hide(values, text, maxEncodings)
}

// hide redacts a text, and what it contains in up to so many encodings.
func (r *Redactor) hide(values *matcher, text string, encodings int) string {
	text = replaceKnown(values, text)
	text = identifying.ReplaceAllStringFunc(text, r.placeholder)
	text = assigned.ReplaceAllString(text, "${1}"+leftOut)
	if encodings == 0 {
		return text
	}
	decoded := text
	for _, decode := range decodings {
		decoded = decode(decoded)
	}
	if decoded != text {
		if hidden := r.hide(values, decoded, encodings-1); hidden != decoded {
			return hidden
		}
	}
	return encoded.ReplaceAllStringFunc(text, func(run string) string {
		if decoded, ok := decodeRun(run); ok && r.hide(values, decoded, encodings-1) != decoded {
			return leftOut
		}
		return run
	})
}

// replaceKnown replaces the known values of a text. It returns the text in the encoding in which it contains the last
// of them, so that no value is left in another one.
func replaceKnown(values *matcher, text string) string {
	text = values.replace(text)
	present := text
	for range maxEncodings {
		before := present
		for _, decode := range decodings { // A value may have what looks like an escape itself: each step is looked at.
			decoded := decode(present)
			if decoded == present {
				continue
			}
			if present = values.replace(decoded); present != decoded {
				text = present
			}
		}
		if present == before {
			break
		}
	}
	return text
}

// exchange redacts a request and its answer.
func (r *Redactor) exchange(values *matcher, e Exchange) Exchange {
	isAgency := strings.HasSuffix(e.Path, "/agency")
	e.Path, e.Text = r.text(values, e.Path), r.text(values, searchDomains.ReplaceAllStringFunc(e.Text, keepSearch))
	if strings.HasPrefix(strings.TrimSpace(e.Text), "<") { // The page of a proxy names its company and the user.
		e.Text = "<html>" + leftOut + "</html>"
	}
	e.Error = r.text(values, e.Error)
	if e.Status == 0 { // Of the operating system and of TLS, which quote what is known on this machine only.
		e.Error = quoted.ReplaceAllString(e.Error, `"`+leftOut+`"`)
	}
	query := url.Values{}
	for name, list := range e.Query {
		for _, value := range list {
			query.Add(r.text(values, name), fmt.Sprint(r.member(values, name, value, false)))
		}
	}
	e.Query = query
	header := map[string]string{}
	for name, value := range e.Header {
		header[name] = r.text(values, value)
	}
	e.Header = header
	switch {
	case e.Service != ServiceCCI: // Keys, tokens, and names that users have chosen.
		e.Request, e.Text = nil, ""
		if e.Status < http.StatusMultipleChoices {
			e.Answer = nil
		}
		e.Answer = blank(e.Answer)
	case isAgency: // Names and texts of the account.
		e.Answer, e.Text = blank(e.Answer), ""
	}
	e.Request, e.Answer = r.json(values, e.Request, e.Path), r.json(values, e.Answer, e.Path)
	stream := e.Stream
	e.Stream = nil
	for _, event := range stream {
		e.Stream = append(e.Stream, r.json(values, event, e.Path))
	}
	return e
}

var (
	// searchDomains matches the lines of /etc/resolv.conf with the domains of the network.
	searchDomains = regexp.MustCompile(`(?m)^\s*(?:search|domain)\b.*$`)
	quoted        = regexp.MustCompile(`"[^"]*"`)
)

// keepSearch leaves out the domains of a line of /etc/resolv.conf, except for those of Spillway.
func keepSearch(line string) string {
	fields := strings.Fields(line)
	for i := 1; i < len(fields); i++ {
		if !strings.HasSuffix(fields[i], ".spillway.io") && !strings.HasSuffix(fields[i], "cluster.local") {
			fields[i] = fmt.Sprintf("domain-%d", i)
		}
	}
	return strings.Join(fields, " ")
}

// blank replaces all texts of a JSON document that are not codes of errors.
func blank(document json.RawMessage) json.RawMessage {
	return texts.ReplaceAllFunc(document, func(match []byte) []byte {
		if bytes.HasSuffix(match, []byte(":")) || errorCode.Match(match) {
			return match // The name of a field, or a code.
		}
		return quote(leftOut)
	})
}

var (
	// texts matches the texts of a JSON document, with the colon that follows the name of a field.
	texts = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(?:\s*:)?`)
	// errorCode matches a code such as APIG.0301.
	errorCode = regexp.MustCompile(`^"[A-Z]{2,6}(?:\.\d{1,8}){1,3}"$`)
)

// json redacts a JSON document.
func (r *Redactor) json(values *matcher, document json.RawMessage, path string) json.RawMessage {
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
	if encoder.Encode(r.value(values, value, strings.Contains(path, "/secrets"))) != nil {
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
func (r *Redactor) value(values *matcher, value any, secret bool) any {
	switch v := value.(type) {
	case string:
		return r.string(values, v)
	case json.Number:
		if hidden := r.text(values, v.String()); hidden != v.String() {
			return hidden
		}
	case []any:
		for i := range v {
			v[i] = r.value(values, v[i], secret)
		}
	case map[string]any:
		secret = secret || v["kind"] == "Secret"
		out := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out[r.text(values, key)] = r.member(values, key, v[key], secret)
		}
		return out
	}
	return value
}

// string redacts a text, which may be a JSON document itself.
func (r *Redactor) string(values *matcher, text string) string {
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		if json.Valid([]byte(trimmed)) {
			return string(r.json(values, json.RawMessage(trimmed), ""))
		}
	}
	return r.text(values, text)
}

// private matches fields, labels and annotations that name a person or an account, or contain a secret.
var private = regexp.MustCompile(`(?i)^(?:(?:.*[/._-])?(?:user-?_?(?:name|id)?|account-?_?(?:name|id)?|` +
	`domain-?_?name|creat(?:or|ed-?_?by)|owner|e?mail|phone|mobile|passw(?:or)?d|` +
	`(?:access|auth|security|bearer)?-?_?token|(?:access|secret|private|api)-?_?key|cookie|authorization))$`)

// member redacts the value of a field of a JSON object, or of a parameter.
func (r *Redactor) member(values *matcher, key string, value any, secret bool) any {
	text, isText := value.(string)
	switch {
	case secret && (key == "data" || key == "stringData"):
		return map[string]any{}
	case key == "items":
		return r.value(values, r.items(value), secret)
	case key == "continue" && text != "":
		return r.numbered(text, "continue-%d") // Names the next object, which may belong to others.
	case isText && text != "" && private.MatchString(key):
		return leftOut
	case isText:
		return r.string(values, text)
	}
	return r.value(values, value, secret)
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
