// Package transcript records what a client and the cloud say to each other, and writes it without anything that
// identifies the account: no keys, tokens, IDs, addresses and names. What it writes can be published, and a simulated
// cloud can take its behavior from it.
package transcript

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// How a request was authenticated.
const (
	AuthNone      = "none"
	AuthSignature = "signature"
	AuthToken     = "token"
)

// Exchange is one request and its answer: a line of a transcript.
type Exchange struct {
	// Step is the step of the doctor that sent the request.
	Step string `json:"step"`
	// Service is the service: cci, iam or vpc.
	Service string     `json:"service"`
	Method  string     `json:"method"`
	Path    string     `json:"path"`
	Query   url.Values `json:"query,omitempty"`
	// Auth is how the request was authenticated, SignedHeaders which headers the signature covered.
	Auth          string `json:"auth"`
	SignedHeaders string `json:"signedHeaders,omitempty"`
	// Request is the body of the request.
	Request json.RawMessage `json:"request,omitempty"`
	// Status is the HTTP status, 0 if there was no answer. Error then says why.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Header has the headers of the answer that matter to a client.
	Header map[string]string `json:"header,omitempty"`
	// Answer is the body if it is JSON, Stream the events of a watch, and Text any other body.
	Answer json.RawMessage   `json:"answer,omitempty"`
	Stream []json.RawMessage `json:"stream,omitempty"`
	Text   string            `json:"text,omitempty"`
}

// setAnswer keeps the body of an answer in the form that it has.
func (e *Exchange) setAnswer(body []byte) {
	e.Answer, e.Stream, e.Text = nil, nil, ""
	var values []json.RawMessage
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	for {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if err == nil {
			values = append(values, value)
			continue
		}
		if !errors.Is(err, io.EOF) && len(values) == 0 {
			e.Text = string(body)
			return
		}
		break // The end, or an event that was cut off.
	}
	if e.isWatch() {
		e.Stream = values
	} else if len(values) == 1 {
		e.Answer = values[0]
	} else if len(values) > 1 {
		e.Text = string(body)
	}
}

func (e *Exchange) isWatch() bool {
	watch := e.Query.Get("watch")
	return watch != "" && watch != "0" && watch != "false"
}

// maxLine is the maximum length of a line in bytes.
const maxLine = 16 << 20

// Read reads a transcript. Errors name the line.
func Read(r io.Reader) ([]Exchange, error) {
	var all []Exchange
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var e Exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("reading line %d of the transcript: %w", number, err)
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the transcript: %w", err)
	}
	return all, nil
}
