// Package ccisimtest runs a simulated cloud with a listener, for the tests of the simulator and of its clients.
package ccisimtest

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

// Quick returns a configuration with one account and short delays.
func Quick(account ccisim.Credential) ccisim.Config {
	return ccisim.Config{
		Credentials:  []ccisim.Credential{account},
		NetworkDelay: 5 * time.Millisecond, ScheduleDelay: 5 * time.Millisecond, StartDelay: 10 * time.Millisecond,
		InitRunTime: 5 * time.Millisecond, RunTime: 30 * time.Millisecond, StopDelay: 5 * time.Millisecond,
		FinalizerDelay: 5 * time.Millisecond, SnapshotDelay: 20 * time.Millisecond, RestartBackoff: 20 * time.Millisecond,
	}
}

// Start runs a cloud until the test ends, and returns it with its endpoint.
func Start(t testing.TB, config ccisim.Config) (sim *ccisim.Sim, url string) {
	t.Helper()
	sim, err := ccisim.New(config)
	require.NoError(t, err)
	server := httptest.NewServer(sim.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
		server.Close()
		assert.NoError(t, sim.Close())
	})
	return sim, server.URL
}
