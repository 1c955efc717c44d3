package kubelet

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// parseLogOptions parses the query of a log request, whose parameters are the fields of PodLogOptions. It returns all
// errors. Source: Kubernetes v1.36, staging/src/k8s.io/api/core/v1/types.go.
func parseLogOptions(query url.Values, now time.Time) (cci.LogOptions, error) {
	p := parser{query: query}
	options := cci.LogOptions{
		Follow:       p.flag("follow"),
		Previous:     p.flag("previous"),
		Timestamps:   p.flag("timestamps"),
		SinceSeconds: p.number("sinceSeconds", 1),
		TailLines:    p.number("tailLines", 0),
		LimitBytes:   p.number("limitBytes", 1),
	}
	if since := p.sinceTime(now); since != nil {
		if options.SinceSeconds != nil {
			p.fail("sinceSeconds and sinceTime: at most one of them may be set")
		}
		options.SinceSeconds = since
	}
	if stream := query.Get("stream"); stream != "" && stream != "All" {
		p.fail("stream: invalid value %q: must be All, because the cloud does not separate the streams", stream)
	}
	return options, errors.Join(p.errs...)
}

// parser collects the errors of the parameters that it parses.
type parser struct {
	query url.Values
	errs  []error
}

func (p *parser) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

func (p *parser) flag(key string) bool {
	text := p.query.Get(key)
	if text == "" {
		return false
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		p.fail("%s: invalid value %q: must be true or false", key, text)
	}
	return value
}

func (p *parser) number(key string, minimum int64) *int64 {
	text := p.query.Get(key)
	if text == "" {
		return nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < minimum {
		p.fail("%s: invalid value %q: must be a number of at least %d", key, text, minimum)
		return nil
	}
	return &value
}

// sinceTime returns the seconds between sinceTime and now, rounded up. The API of the cloud has no points in time.
func (p *parser) sinceTime(now time.Time) *int64 {
	text := p.query.Get("sinceTime")
	if text == "" {
		return nil
	}
	since, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.fail("sinceTime: invalid value %q: must be a time such as 2026-01-02T15:04:05Z", text)
		return nil
	}
	seconds := max(int64(math.Ceil(now.Sub(since).Seconds())), 1)
	return &seconds
}
