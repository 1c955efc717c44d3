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

// parseLogOptions reads the query of a log request, in the words of Kubernetes' PodLogOptions. All faults are reported at once.
func parseLogOptions(query url.Values) (cci.LogOptions, error) {
	p := parser{query: query}
	options := cci.LogOptions{
		Follow:       p.flag("follow"),
		Previous:     p.flag("previous"),
		Timestamps:   p.flag("timestamps"),
		SinceSeconds: p.number("sinceSeconds", 1),
		TailLines:    p.number("tailLines", 0),
		LimitBytes:   p.number("limitBytes", 1),
	}
	if since := p.sinceTime(time.Now()); since != nil {
		if options.SinceSeconds != nil {
			p.fault("sinceSeconds and sinceTime: only one of both may be given")
		}
		options.SinceSeconds = since
	}
	if stream := query.Get("stream"); stream != "" && stream != "All" {
		p.fault("stream: invalid value %q: the cloud does not tell them apart", stream)
	}
	return options, errors.Join(p.faults...)
}

type parser struct {
	query  url.Values
	faults []error
}

func (p *parser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

func (p *parser) flag(key string) bool {
	text := p.query.Get(key)
	if text == "" {
		return false
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		p.fault("%s: invalid value %q: must be true or false", key, text)
	}
	return value
}

func (p *parser) number(key string, least int64) *int64 {
	text := p.query.Get(key)
	if text == "" {
		return nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < least {
		p.fault("%s: invalid value %q: must be a number from %d on", key, text, least)
		return nil
	}
	return &value
}

// sinceTime is in seconds before now: the cloud does not know points in time.
func (p *parser) sinceTime(now time.Time) *int64 {
	text := p.query.Get("sinceTime")
	if text == "" {
		return nil
	}
	since, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.fault("sinceTime: invalid value %q: must be a time such as 2026-01-02T15:04:05Z", text)
		return nil
	}
	seconds := max(int64(math.Ceil(now.Sub(since).Seconds())), 1)
	return &seconds
}
