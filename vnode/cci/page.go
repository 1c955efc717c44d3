package cci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/rawjson"
)

// page is a page of a list. It is decoded object by object: a page is much larger than what its caller keeps of it.
type page[T any] struct {
	// keep is called with each object, and reports whether it becomes part of Items. It may remove parts of the object.
	// Nil keeps all objects as they are.
	keep func(*T) bool

	Metadata metav1.ListMeta
	Items    []T
	// objects is the number of objects, including those that were not kept.
	objects int
	// skipped: an object was left out because it costs too much to decode. The page is no proof then.
	skipped bool
}

// decode implements streamed.
func (p *page[T]) decode(body io.Reader) error {
	*p = page[T]{keep: p.keep} // After a failed attempt.
	reader := &boundedReader{reader: body, total: maxPage}
	reader.next()
	decoder := json.NewDecoder(reader)
	if err := expect(decoder, json.Delim('{')); err != nil {
		return err
	}
	isList := false
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		reader.next()
		switch name {
		case "metadata":
			err = decoder.Decode(&p.Metadata)
		case "items":
			isList, err = true, p.decodeItems(decoder, reader)
		case "kind":
			var kind string
			err = decoder.Decode(&kind)
			isList = isList || strings.HasSuffix(kind, "List")
		default:
			err = decoder.Decode(&json.RawMessage{})
		}
		if err != nil {
			return err
		}
	}
	if !isList { // Of something else than the service. An empty list would say that nothing exists.
		return errors.New("the answer is no list of objects")
	}
	return expect(decoder, json.Delim('}'))
}

func (p *page[T]) decodeItems(decoder *json.Decoder, reader *boundedReader) error {
	switch token, err := decoder.Token(); {
	case err != nil:
		return err
	case token == nil: // null
		return nil
	case token != json.Delim('['):
		return fmt.Errorf("items are %v: must be a list", token)
	}
	for decoder.More() {
		reader.next()
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		if p.objects++; p.objects > maxListed {
			return tooLarge("a page has more than %d objects", maxListed)
		}
		var item T
		if err := rawjson.Unmarshal(raw, &item); isLimit(err) {
			p.skipped = true
			continue // One object must not hide the others. A missing object proves nothing.
		} else if err != nil {
			return err
		}
		if p.keep == nil || p.keep(&item) {
			p.Items = append(p.Items, item)
		}
	}
	return expect(decoder, json.Delim(']'))
}

// isLimit reports whether an object costs too much to decode.
func isLimit(err error) bool {
	_, is := errors.AsType[*rawjson.LimitError](err)
	return is
}

func expect(decoder *json.Decoder, want json.Delim) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("unexpected %v: must be %v", token, want)
	}
	return nil
}

// errSkipped is the error of a list that must have every object.
var errSkipped = &Error{Kind: Transient, Message: "an object in the list costs too much to decode"}

// listPages lists the objects of all pages. list is the call for a page, without its query. If whole is false, objects
// that cost too much to decode are left out.
func listPages[T any](ctx context.Context, c *Client, list call, options ListOptions, whole bool) ([]T, error) {
	var all []T
	err := EachPage(options, func(options ListOptions) (string, int, error) {
		var found page[T]
		list.query = options.query()
		if err := c.doWithRetry(ctx, list, &found); err != nil {
			return "", 0, err
		}
		if whole && found.skipped {
			return "", 0, errSkipped
		}
		all = append(all, found.Items...)
		return found.Metadata.Continue, found.objects, nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
