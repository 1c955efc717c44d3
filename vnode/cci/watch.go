package cci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/internal/rawjson"
)

// watchSlack is the time after which the client ends a stream that the service should have ended.
const watchSlack = 15 * time.Second

// WatchPods implements API.
func (c *Client) WatchPods(ctx context.Context, namespace string, options WatchOptions) (PodWatch, error) {
	query := url.Values{
		"watch":               {"true"},
		"allowWatchBookmarks": {"true"},
		"timeoutSeconds":      {strconv.Itoa(int(options.Timeout.Seconds()))},
	}
	setText(query, "labelSelector", options.LabelSelector)
	setText(query, "resourceVersion", options.ResourceVersion)
	if err := c.limiter.Wait(ctx); err != nil {
		return nil, err
	}
	streamCtx, cancel := context.WithTimeout(ctx, options.Timeout+watchSlack)
	call := call{operation: "WatchPods", method: http.MethodGet, path: c.paths.pods(namespace), query: query}
	response, err := c.send(streamCtx, ctx, call)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watching cloud pods of %s: %w", namespace, err)
	}
	reader := &boundedReader{reader: response.Body, total: math.MaxInt64}
	return &podWatch{
		client: c, caller: ctx, cancel: cancel, body: response.Body, reader: reader, decoder: json.NewDecoder(reader),
	}, nil
}

// podWatch reads the stream of a watch, which is a sequence of JSON objects.
type podWatch struct {
	client  *Client
	caller  context.Context
	cancel  context.CancelFunc
	body    io.ReadCloser
	reader  *boundedReader
	decoder *json.Decoder
}

// Next implements PodWatch.
func (w *podWatch) Next() (PodEvent, error) {
	for {
		event, err := w.next()
		if !isLimit(err) { // One object must not end the watch of the others.
			return event, err
		}
	}
}

// next reads one event. It returns a LimitError of package rawjson if the object costs too much to decode.
func (w *podWatch) next() (PodEvent, error) {
	var raw struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	w.reader.next()
	if err := w.decoder.Decode(&raw); err != nil {
		if errors.Is(err, io.EOF) && w.caller.Err() == nil {
			return PodEvent{}, io.EOF
		}
		return PodEvent{}, noAnswer(w.caller, "reading the watch of cloud pods", err)
	}
	if raw.Type == watch.Error {
		return PodEvent{}, w.decodeErrorEvent(raw.Object[:min(len(raw.Object), maxError)])
	}
	event := PodEvent{Type: raw.Type, Pod: &Pod{}}
	if err := rawjson.Unmarshal(raw.Object, event.Pod); isLimit(err) {
		return PodEvent{}, err
	} else if err != nil {
		return PodEvent{}, noAnswer(w.caller, "decoding an event of cloud pods", err)
	}
	w.client.receive(event.Pod)
	return event, nil
}

// decodeErrorEvent returns the error of an ERROR event. Such an event has an HTTP status of its own, in a stream whose
// response has status 200.
func (w *podWatch) decodeErrorEvent(object []byte) error {
	var status struct {
		Code int `json:"code"`
	}
	if err := json.Unmarshal(object, &status); err != nil {
		return noAnswer(w.caller, "decoding an error of the watch", err)
	}
	return decodeError(http.MethodGet, status.Code, nil, object, time.Now())
}

// Close implements PodWatch.
func (w *podWatch) Close() {
	w.cancel()
	_ = w.body.Close() // An error has no consequence: the stream has ended.
}
