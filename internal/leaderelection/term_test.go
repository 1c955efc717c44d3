package leaderelection_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
)

// transport answers requests. It counts them, and blocks those with the path /slow until they are cancelled.
type transport struct{ sent int }

// RoundTrip implements http.RoundTripper.
func (s *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	s.sent++
	body := io.NopCloser(strings.NewReader("answer"))
	switch request.URL.Path {
	case "/slow":
		<-request.Context().Done()
		return nil, context.Cause(request.Context())
	case "/watch":
		body = watch{request.Context()}
	}
	return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
}

// watch is a body that has nothing to read until the request is cancelled.
type watch struct{ ctx context.Context }

func (w watch) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, context.Cause(w.ctx)
}
func (watch) Close() error { return nil }

func request(t *testing.T, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://host"+path, strings.NewReader("body"))
	require.NoError(t, err)
	return r
}

func TestNothingIsSentOutsideTheTerm(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(*leaderelection.Term)
		sent bool
	}{
		"before the first renewal": {func(*leaderelection.Term) {}, false},
		"after a renewal":          {func(term *leaderelection.Term) { term.Renew(time.Now(), 1) }, true},
		"shortly before the deadline": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			time.Sleep(10*time.Second - 1)
		}, true},
		"at the deadline": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			time.Sleep(10 * time.Second)
		}, false},
		"after more renewals": {func(term *leaderelection.Term) {
			for range 5 {
				term.Renew(time.Now(), 1)
				time.Sleep(9 * time.Second)
			}
		}, true},
		"after a renewal whose answer took long": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			sent := time.Now().Add(time.Second)
			time.Sleep(8 * time.Second)
			term.Renew(sent, 1)
			time.Sleep(3 * time.Second)
		}, false},
		"after the end": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			term.End()
		}, false},
		"after a renewal that came too late": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			time.Sleep(time.Minute)
			term.Renew(time.Now(), 1)
		}, false},
		"after another process has held the Lease": {func(term *leaderelection.Term) {
			term.Renew(time.Now(), 1)
			term.Renew(time.Now(), 3)
		}, false},
		"after the machine was suspended, which stops its monotonic clock": {func(term *leaderelection.Term) {
			term.Renew(time.Now().Round(0).Add(-time.Minute), 1)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				term := leaderelection.NewTerm(10 * time.Second)
				defer term.End()
				test.do(term)
				next := &transport{}
				response, err := term.Wrap(next).RoundTrip(request(t, "/"))
				if !test.sent {
					require.ErrorIs(t, err, leaderelection.ErrTermOver)
					assert.ErrorIs(t, term.Err(), leaderelection.ErrTermOver)
					assert.Zero(t, next.sent)
					return
				}
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				assert.Equal(t, 1, next.sent)
			})
		})
	}
}

func TestRequestsUnderWayAreCancelledWithTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := leaderelection.NewTerm(10 * time.Second)
		term.Renew(time.Now(), 1)
		client := term.Wrap(&transport{})
		began := time.Now()
		_, err := client.RoundTrip(request(t, "/slow"))
		require.ErrorIs(t, err, leaderelection.ErrTermOver)
		assert.Equal(t, 10*time.Second, time.Since(began))
	})
	synctest.Test(t, func(t *testing.T) {
		term := leaderelection.NewTerm(10 * time.Second)
		term.Renew(time.Now(), 1)
		response, err := term.Wrap(&transport{}).RoundTrip(request(t, "/watch"))
		require.NoError(t, err)
		time.AfterFunc(time.Second, term.End)
		_, err = io.ReadAll(response.Body)
		require.ErrorIs(t, err, leaderelection.ErrTermOver, "a watch ends with the term too")
		require.NoError(t, response.Body.Close())
	})
}

func TestACallerCancelsItsRequestItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := leaderelection.NewTerm(10 * time.Second)
		defer term.End()
		term.Renew(time.Now(), 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the caller has gone")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		_, err := term.Wrap(&transport{}).RoundTrip(request(t, "/slow").WithContext(ctx))
		require.ErrorIs(t, err, gone)
	})
}
