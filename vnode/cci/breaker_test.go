package cci

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBreaker(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := &breaker{now: func() time.Time { return now }, first: time.Second}
	down := &Error{Kind: Transient, Status: 503, Message: "down"}
	send := func(err error) {
		t.Helper()
		require.NoError(t, b.admit(""))
		b.done("", err)
	}
	for range breakerThreshold - 1 {
		send(down)
	}
	send(nil)
	for range breakerThreshold - 1 {
		send(down)
	}
	send(&Error{Kind: NotFound, Status: 404}) // This is an answer.
	for range breakerThreshold - 1 {
		send(down)
	}
	send(context.Canceled) // This neither counts nor resets the count.
	send(down)

	err := b.admit("")
	require.True(t, IsTransient(err), "%v", err)
	assert.ErrorContains(t, err, "no requests are sent for now: the cloud answered 503: down")
	assert.InDelta(t, 1.1, RetryAfter(err).Seconds(), 0.11)
	assert.True(t, isUnsent(err))

	for i, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		now = now.Add(pause*time.Second - time.Millisecond)
		require.Error(t, b.admit(""), "%d: no request before %ds have passed", i, pause)
		now = now.Add(pause * time.Second / 4)
		require.NoError(t, b.admit(""), "%d: a probe is sent", i)
		require.Error(t, b.admit(""), "%d: one probe at a time", i)
		b.done("", down)
	}
	now = now.Add(time.Minute)
	send(context.Canceled)
	send(nil)
	for range breakerThreshold {
		send(down)
	}
	assert.Less(t, RetryAfter(b.admit("")), 2*time.Second, "the delay starts from the beginning")
	assert.False(t, isUnsent(errors.New("other")))
}

// An attack: the service fails for every Pod of a tenant.
func TestRequestsOfOneNamespaceDoNotOpenTheBreaker(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := &breaker{now: func() time.Time { return now }, first: time.Second}
	down := &Error{Kind: Transient, Status: 500, Message: "down"}
	send := func(namespace string, err error) {
		t.Helper()
		require.NoError(t, b.admit(namespace))
		b.done(namespace, err)
	}
	for range 10 * breakerThreshold {
		send("broken", down)
	}
	send("shop", nil)
	for range breakerThreshold - 1 {
		send("broken", down)
	}
	send("shop", down)
	require.Error(t, b.admit("shop"), "the service fails for several namespaces")

	now = now.Add(time.Minute)
	send("broken", down) // It may send a probe, but not the next one too.
	now = now.Add(time.Minute)
	require.Error(t, b.admit("broken"))
	send("shop", nil)
	require.NoError(t, b.admit("broken"), "the probe of another namespace closes the breaker for all")
}

func TestTheProgramProbesAgainAndAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := &breaker{now: func() time.Time { return now }, first: time.Second}
	for range breakerThreshold + 5 {
		require.NoError(t, b.admit(""))
		b.done("", &Error{Kind: Transient, Status: 500})
		now = now.Add(time.Minute)
	}
}
