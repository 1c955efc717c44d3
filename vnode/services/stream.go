package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// maxLag is how many events a client may be behind. It is cut off while all events that it has not seen are still
	// there, and goes on with a new stream.
	maxLag = maxEvents / 2
	// minTimeout is how long a stream lasts if the client does not say, and up to twice as long. Source: Kubernetes
	// v1.37, kube-apiserver --min-request-timeout.
	minTimeout = 30 * time.Minute
	// batchSize is how many events are read at once.
	batchSize = 32
)

// stream is one watch of a client.
type stream struct {
	sender
	resources *resources
	initials  *initials
	query     query
	view      view
	// at is the position of the next event. end is that of the first one that is not part of the initial events, whose
	// version is endVersion.
	at, end    position
	endVersion uint64
	// ending says that the client waits for the bookmark that ends the initial events.
	ending bool
}

// errLost is the error of a client that is so far behind that events are lost.
var errLost = errors.New("events after the client's version are no longer there")

// errBehind is the error of a client that reads too slowly.
var errBehind = errors.New("the client is too far behind")

// ready finds out where the stream begins. It returns an error that must be answered.
func (s *stream) ready(ctx context.Context) *apierrors.StatusError {
	if err := waitFor(ctx, s.resources, s.query.version); err != nil {
		return err
	}
	switch {
	case s.query.wantsAll():
		s.endVersion, s.end = s.resources.head()
		s.ending = s.query.SendInitialEvents != nil && s.query.AllowWatchBookmarks
	case s.query.version == 0:
		_, s.at = s.resources.head()
	default:
		var ok bool
		if s.at, ok = s.resources.after(s.query.version); !ok {
			return expired(s.query.version)
		}
	}
	return nil
}

// run sends events until ctx ends, which is no error, or the stream must end.
func (s *stream) run(ctx context.Context) error {
	s.start()
	if s.query.wantsAll() {
		if err := s.sendInitial(); err != nil {
			return err
		}
	}
	var batch [batchSize]event
	for ctx.Err() == nil {
		n, more, changed, ok := s.resources.read(s.at, batch[:])
		switch {
		case !ok:
			return errors.Join(errLost, s.write(s.text(nil, appendError(nil, expired(s.query.version)))))
		case more > maxLag:
			return errBehind
		case n > 0 || s.ending && s.at >= s.end:
			if err := s.sendEvents(batch[:n]); err != nil {
				return err
			}
			continue
		}
		if err := s.flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// sendInitial sends all objects.
func (s *stream) sendInitial() error {
	if s.compressed {
		chunks, events, next := s.initials.get(s.view)
		s.at = next
		for _, chunk := range chunks {
			if err := s.write(chunk); err != nil {
				return err
			}
		}
		s.metrics.events.WithLabelValues(s.kind.name).Add(float64(events))
		return nil
	}
	objects, _, next := s.resources.snapshot()
	s.at = next
	events, err := inChunks(objects, s.view, func(to []byte, o *object) []byte {
		return appendEvent(to, watch.Added, o, o.version)
	}, s.write)
	s.metrics.events.WithLabelValues(s.kind.name).Add(float64(events))
	return err
}

// sendEvents sends what the view shows of some events, and then the bookmark that ends the initial ones, if the client
// waits for it.
func (s *stream) sendEvents(batch []event) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	text, events := (*buffer)[:0], 0
	for _, e := range batch {
		before := len(text)
		if text = s.append(text, e); len(text) > before {
			events++
		}
	}
	s.at += position(len(batch))
	if s.ending && s.at >= s.end {
		s.ending = false
		text = s.text(text, appendBookmark(nil, s.kind, s.endVersion, true))
		events++
	}
	*buffer = text
	s.metrics.events.WithLabelValues(s.kind.name).Add(float64(events))
	return s.write(text)
}

// append appends the frame of an event, if the view shows it.
func (s *stream) append(to []byte, e event) []byte {
	var text func() []byte
	shared := true
	if e.old == nil && e.object == nil {
		if !s.query.AllowWatchBookmarks {
			return to
		}
		text = func() []byte { return appendBookmark(nil, s.kind, e.version, false) }
	} else {
		kind, object := s.view.eventOf(e)
		if kind == "" {
			return to
		}
		if !s.compressed {
			return appendEvent(to, kind, object, e.version)
		}
		shared = kind == e.kind()
		text = func() []byte { return appendEvent(nil, kind, object, e.version) }
	}
	if s.compressed && shared {
		return append(to, e.frame.get(text)...)
	}
	return s.text(to, text())
}

// timeout returns how long the stream may last.
func (q query) timeout() time.Duration {
	if q.TimeoutSeconds != nil && *q.TimeoutSeconds > 0 {
		return time.Duration(min(*q.TimeoutSeconds, int64(2*minTimeout/time.Second))) * time.Second
	}
	return minTimeout + rand.N(minTimeout)
}

func expired(version uint64) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", version))
}
