package cci

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Thousands of Pods may have to be confirmed as gone at the same time: a list serves all that waited for it, and none
// that asked after it was begun.
func TestCallersShareTheNextList(t *testing.T) {
	var lists nameLists
	began, release := make(chan int, 3), make(chan map[string]bool)
	count := 0
	list := func() (map[string]bool, error) {
		count++
		began <- count
		return <-release, nil
	}
	var group sync.WaitGroup
	read := func(want bool) {
		group.Go(func() {
			names, err := lists.read(t.Context(), "pods", list)
			assert.NoError(t, err)
			assert.Equal(t, want, names["new"])
		})
	}
	waiting := func() int {
		lists.mu.Lock()
		defer lists.mu.Unlock()
		return lists.byPath["pods"].waiting
	}
	read(false)
	<-began
	for range 20 { // They ask while the first list is under way: it may be older than what they have seen.
		read(true)
	}
	require.Eventually(t, func() bool { return waiting() == 21 }, time.Minute, time.Millisecond)
	release <- map[string]bool{}
	<-began
	release <- map[string]bool{"new": true}
	group.Wait()
	assert.Equal(t, 2, count)
	assert.Empty(t, lists.byPath, "nothing is kept")
}

func TestACanceledListDoesNotFailTheOthers(t *testing.T) {
	var lists nameLists
	down := &Error{Kind: Transient, Status: 503}
	_, err := lists.read(t.Context(), "pods", func() (map[string]bool, error) { return nil, down })
	assert.Equal(t, error(down), err)

	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		_, err := lists.read(ctx, "pods", func() (map[string]bool, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-began
	group.Go(func() {
		names, err := lists.read(t.Context(), "pods", func() (map[string]bool, error) {
			return map[string]bool{"a": true}, nil
		})
		assert.NoError(t, err)
		assert.True(t, names["a"])
	})
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, err = lists.read(gone, "pods", func() (map[string]bool, error) { return nil, errors.New("not reached") })
	assert.ErrorIs(t, err, context.Canceled)
	cancel()
	group.Wait()
}
