// Package transcript records what a client and the cloud say to each other, and writes it without anything that
// identifies the account: no keys, tokens, IDs, addresses and names. What it writes can be published, and a simulated
// cloud can take its behavior from it.
package transcript

import (
	"bytes"
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

// setAnswer keeps the body of an answer in the form that it has. Of JSON that is cut off nothing is kept: what
// belongs to others in it could not be told from the rest.
func (e *Exchange) setAnswer(body []byte) {
	e.Answer, e.Stream, e.Text = nil, nil, ""
	var values []json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(body))
	var err error
	for err == nil {
		var value json.RawMessage
		if err = decoder.Decode(&value); err == nil {
			values = append(values, value)
		}
	}
	switch {
	case e.isWatch() && len(values) > 0:
		e.Stream = values // The last event may be cut off.
	case len(values) == 1 && errors.Is(err, io.EOF):
		e.Answer = values[0]
	case len(body) > 0 && strings.ContainsAny(string(bytes.TrimSpace(body)[:1]), "{["):
		e.Text = fmt.Sprintf("(left out: %d bytes of JSON that is cut off)", len(body))
	default:
		e.Text = string(body)
	}
}

func (e *Exchange) isWatch() bool {
	watch := e.Query.Get("watch")
	return watch != "" && watch != "0" && watch != "false"
}

// Format is the format of the transcripts that Write writes and Read reads.
const Format = "spillway-doctor-transcript/1"

// header is the first line of a transcript.
type header struct {
	Format string `json:"format"`
}
