package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener) }()
	response, err := http.Get("http://" + listener.Addr().String())
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	assert.Equal(t, host+"\n", string(body))
	cancel()
	assert.NoError(t, <-ended)
}
