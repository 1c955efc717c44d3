package controllers

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
)

func TestALoopTriesAgainUntilItSucceeds(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web", errors.New("changed"))
	answers := make(chan error, 3)
	answers <- errors.New("away")
	answers <- conflict
	answers <- nil
	var failures atomic.Int32
	tried := make(chan cache.ObjectName)
	l := loop{
		name: "test", workers: 2, resync: time.Hour, again: make(chan struct{}, 1),
		failed: func() { failures.Add(1) }, logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		backlog: func() []cache.ObjectName { return []cache.ObjectName{{Namespace: "shop", Name: "web"}} },
		reconcile: func(_ context.Context, name cache.ObjectName) error {
			tried <- name
			return <-answers
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, l.open())
	}()
	for range 3 {
		assert.Equal(t, "shop/web", (<-tried).String())
	}
	cancel()
	<-ended
	assert.EqualValues(t, 1, failures.Load(), "a conflict is no failure")
}

func TestALoopLooksAtItsBacklogWhenItIsTold(t *testing.T) {
	looks := make(chan struct{})
	l := loop{
		name: "test", workers: 1, resync: time.Hour, again: make(chan struct{}, 1),
		backlog: func() []cache.ObjectName { looks <- struct{}{}; return nil },
	}
	l.lookAgain() // Before it runs, and more often than it can look: neither blocks.
	l.lookAgain()
	for range 2 { // It may run again once it has ended.
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run(ctx, l.open())
		}()
		<-looks
		l.lookAgain()
		<-looks
		cancel()
		for done := false; !done; {
			select {
			case <-looks:
			case <-ended:
				done = true
			}
		}
	}
}
