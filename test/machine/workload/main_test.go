package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/programtest"
)

func TestTheNameDeterminesTheProgram(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.NoError(t, run(ended, "pause"))
	assert.NoError(t, run(t.Context(), "perl"))
	assert.EqualError(t, run(t.Context(), "sh"), `started as "sh": must be server, pause or perl`)
}

func TestTheServerReturnsTheHostNameUntilItEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address, ended := programtest.FreeAddress(t), make(chan error, 1)
	go func() { ended <- serve(ctx, address) }()
	var body []byte
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + address)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
		return err == nil
	}, time.Minute, time.Millisecond)
	host, err := os.Hostname()
	require.NoError(t, err)
	assert.Equal(t, host+"\n", string(body))
	cancel()
	assert.NoError(t, <-ended)
}
