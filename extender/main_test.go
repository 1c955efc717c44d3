package main

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/internal/run"
)

func TestProgramReportsWrongFlagsBeforeItStarts(t *testing.T) {
	assert.ErrorIs(t, program(t.Context(), []string{"--help"}), pflag.ErrHelp)
	assert.ErrorIs(t, program(t.Context(), []string{"--listen", "port"}), run.ErrUsage)
}

func TestLogsAreJSONWithTheSameKeys(t *testing.T) {
	loggingtest.Run(t, program, `"msg":"starting","address":"127.0.0.1:0"`,
		"--kubeconfig="+loggingtest.Kubeconfig(t), "--listen=127.0.0.1:0")
}
