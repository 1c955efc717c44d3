package main

import (
	"net"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/internal/run"
)

func TestProgramReportsWrongFlagsBeforeItStarts(t *testing.T) {
	for _, args := range [][]string{
		{"--max-services=0"}, {"--dns-address=0.0.0.0:53"}, {"start"}, {"check", "--dns-address=dns"}, {"check", "now"},
	} {
		assert.ErrorIs(t, program(t.Context(), args), run.ErrUsage, args)
	}
	for _, args := range [][]string{{"--help"}, {"check", "--help"}, {"--version"}} {
		assert.ErrorIs(t, program(t.Context(), args), pflag.ErrHelp, args)
	}
}

func TestTheCheckFailsWithoutAProxy(t *testing.T) {
	assert.ErrorContains(t, program(t.Context(), []string{"check", "--dns-address=127.0.0.1:1"}), "127.0.0.1:1")
}

func TestLogsAreJSONWithTheSameKeys(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0") // It finds a port that no program uses.
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	loggingtest.Run(t, program, `"msg":"no server answers, Services stay as they are","err":`,
		"--kubeconfig="+loggingtest.Kubeconfig(t), "--dns-address="+listener.Addr().String())
}
