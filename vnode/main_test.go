package main

import (
	"crypto/x509"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/run"
)

// The image contains only the program: without its own root certificates it could not verify the cloud's certificate.
func TestTheProgramBringsRootCertificates(t *testing.T) {
	assert.PanicsWithValue(t, "SetFallbackRoots has already been called",
		func() { x509.SetFallbackRoots(x509.NewCertPool()) })
}

func TestArgumentsSelectTheSubcommand(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		// want is in the error of a configuration that is not complete.
		want string
	}{
		"the node":          {nil, "node.name"},
		"the cleanup":       {[]string{"gc", "--min-age=-1s"}, "min-age"},
		"the uninstall":     {[]string{"uninstall", "--programs=!!"}, "programs"},
		"the doctor":        {[]string{"doctor", "--timeout=0s"}, "timeout"},
		"an unknown action": {[]string{"remove"}, `unknown argument "remove"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := program(t.Context(), test.args)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, test.want)
		})
	}
	for _, args := range [][]string{{"--help"}, {"gc", "--help"}, {"uninstall", "--version"}, {"doctor", "--help"}} {
		assert.ErrorIs(t, program(t.Context(), args), pflag.ErrHelp, args)
	}
}
