package main

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"

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
