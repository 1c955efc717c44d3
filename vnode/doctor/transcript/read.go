package transcript

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A transcript may come from anybody. What is read of it is bounded.
const (
	// maxTranscript is the maximum size of a transcript in bytes, maxEntry that of a line, maxEntries their number. A run
	// has some hundred requests.
	maxTranscript = 64 << 20
	maxEntry      = 4 << 20
	maxEntries    = 20_000
	// maxParts is how many events and parameters all entries have together: each takes more memory than text.
	maxParts = 100_000
	// maxDepth is how deep the JSON of an entry may be nested.
	maxDepth = 64
	// maxValues is how many values a parameter may have: a command has some.
	maxValues = 64
	// maxPath is the maximum length of a path in bytes.
	maxPath = 4 << 10
)

// ReadFile reads a transcript from a file. Errors name the file.
func ReadFile(name string) ([]Exchange, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the transcript: %w", err)
	}
	defer file.Close()
	exchanges, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("reading the transcript %s: %w", name, err)
	}
	return exchanges, nil
}

// IsTranscript reports whether a file begins as transcripts of all versions do.
func IsTranscript(name string) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	begin := make([]byte, len(firstBytes))
	_, err = io.ReadFull(file, begin)
	return err == nil && string(begin) == firstBytes
}

// firstBytes begin all transcripts.
const firstBytes = `{"format":"spillway-doctor-transcript/`

// Read reads a transcript that may be hostile. Errors name the line and say what would be right.
func Read(r io.Reader) ([]Exchange, error) {
	limited := &io.LimitedReader{R: r, N: maxTranscript + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxEntry)
	var all []Exchange
	hasHeader := false
	number, parts := 0, 0
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case limited.N <= 0:
		case len(line) == 0:
		case !hasHeader:
			if err := readHeader(line); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			hasHeader = true
		case len(all) == maxEntries:
			return nil, fmt.Errorf("line %d: a transcript has at most %d requests", number, maxEntries)
		default:
			e, err := readExchange(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			if parts += len(e.Stream) + len(e.Query); parts > maxParts {
				return nil, fmt.Errorf("line %d: a transcript has at most %d events and parameters", number, maxParts)
			}
			all = append(all, e)
		}
	}
	err := lines.Err()
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("line %d: a transcript has at most %d MiB", number+1, maxTranscript>>20)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: a line has at most %d MiB", number+1, maxEntry>>20)
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	case !hasHeader:
		return nil, errors.New("line 1: the file is empty: " + howToRecord)
	case len(all) == 0:
		return nil, fmt.Errorf("line %d: there are no requests: %s", number+1, howToRecord)
	}
	return all, nil
}

// howToRecord says what a transcript is.
const howToRecord = "a transcript is what `vnode doctor --record FILE` writes"

func readHeader(line []byte) error {
	var h header
	if err := decodeStrictly(line, &h); err != nil {
		return fmt.Errorf(`%w: the first line must be {"format":%q}: %s`, err, Format, howToRecord)
	}
	if h.Format != Format {
		return fmt.Errorf("the format is %.100q, and this program reads %s: use the version that has recorded it",
			h.Format, Format)
	}
	return nil
}

func readExchange(line []byte) (Exchange, error) {
	var e Exchange
	if err := decodeStrictly(line, &e); err != nil {
		return e, fmt.Errorf("%w: each line must be the JSON object of one request: %s", err, howToRecord)
	}
	return e, e.validate()
}

// decodeStrictly decodes a JSON object without fields that are unknown or occur twice, and without deep nesting.
func decodeStrictly(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := checkValue(decoder, 0); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON object")
	}
	decoder = json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	return nil
}

// checkValue reads one JSON value. It returns an error if an object has a field twice, in whatever case, or if it is
// nested too deep.
func checkValue(decoder *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the JSON is nested deeper than %d levels", maxDepth)
	}
	token, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return err
			}
			name := fmt.Sprint(key)
			if depth == 0 { // Fields of Go are found in whatever case.
				name = strings.ToLower(name)
			}
			if seen[name] {
				return fmt.Errorf("the field %.100q occurs twice", name)
			}
			seen[name] = true
			if err := checkValue(decoder, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for decoder.More() {
			if err := checkValue(decoder, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = decoder.Token() // The end of the object or the list.
	return err
}

var (
	stepName  = regexp.MustCompile(`^[a-z0-9-]{0,64}$`)
	lineBreak = func(c rune) bool { return unicode.IsControl(c) }
)

// validate returns the first field that no recorded request has.
func (e *Exchange) validate() error {
	switch {
	case !stepName.MatchString(e.Step):
		return fmt.Errorf("step: %.100q must be the name of a check, such as list", e.Step)
	case !slices.Contains([]string{ServiceCCI, ServiceIAM, ServiceVPC}, e.Service):
		return fmt.Errorf("service: %.100q must be %s, %s or %s", e.Service, ServiceCCI, ServiceIAM, ServiceVPC)
	case !slices.Contains([]string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	}, e.Method):
		return fmt.Errorf("method: %.100q must be GET, POST, PUT, PATCH or DELETE", e.Method)
	case len(e.Path) > maxPath || strings.ContainsFunc(e.Path, lineBreak):
		return fmt.Errorf("path: %.100q must be a path of at most %d bytes without control characters", e.Path, maxPath)
	case e.Path != "" && path.Clean("/"+e.Path) != cmp.Or(strings.TrimSuffix(e.Path, "/"), "/"):
		return fmt.Errorf("path: %.100q must be absolute, without empty parts and without ..", e.Path)
	case !slices.Contains([]string{AuthNone, AuthSignature, AuthToken}, e.Auth):
		return fmt.Errorf("auth: %.100q must be %s, %s or %s", e.Auth, AuthNone, AuthSignature, AuthToken)
	case e.Status == http.StatusSwitchingProtocols && !strings.HasSuffix(e.Path, "/exec"):
		return fmt.Errorf("status: %d must be that of a command: the path ends in /exec", e.Status)
	case e.Status != 0 && e.Status != http.StatusSwitchingProtocols && (e.Status < 200 || e.Status > 999):
		return fmt.Errorf("status: %d must be from 200 to 999, 101 for a command, or 0 if there was no answer", e.Status)
	case len(e.Answer) > 0 && len(e.Stream) > 0, len(e.Answer) > 0 && e.Text != "", len(e.Stream) > 0 && e.Text != "":
		return errors.New("answer, stream, text: only one of them may be set")
	}
	for name, values := range e.Query {
		if len(values) > maxValues {
			return fmt.Errorf("query: %.100q has more than %d values", name, maxValues)
		}
	}
	for name, value := range e.Header {
		if !slices.Contains(kept, name) || strings.ContainsFunc(value, lineBreak) {
			return fmt.Errorf("header: %.100q: %.100q must be one of %s, on one line", name, value, strings.Join(kept, ", "))
		}
	}
	return nil
}
