package integration

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/vnode/app"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// A process has many terms in its life. It must not become larger with each.
func TestNothingRemainsOfATerm(t *testing.T) {
	const terms = 20
	config := settings(t, cloudtest.New(t), nodeName(t))
	run := func() {
		term := leaderelection.NewTerm(time.Hour)
		term.Renew(time.Now(), 1)
		v, err := app.New(config, term, nil, nil, newDiscard())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		eventually(t, v.Ready)
		cancel()
		require.NoError(t, <-ended)
		term.End()
	}
	run() // Connections to the API server remain, and serve the next terms.
	before := runtime.NumGoroutine()
	for range terms {
		run()
	}
	eventually(t, func() error {
		if now := runtime.NumGoroutine(); now > before+terms/4 { // Less than one for each term: connections come and go.
			var stacks strings.Builder
			assert.NoError(t, pprof.Lookup("goroutine").WriteTo(&stacks, 1))
			return fmt.Errorf("%d goroutines have become %d:\n%s", before, now, stacks.String())
		}
		return nil
	})
}
