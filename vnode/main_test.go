package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/util/cert"

	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
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

func TestLogsAreJSONWithTheSameKeys(t *testing.T) {
	write := func(name, content string) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	require.NoError(t, err)
	authority := write("ca.crt", string(certificate))
	loggingtest.Run(t, program, `"err":"`, "--kubeconfig="+loggingtest.Kubeconfig(t),
		"--node-name=virtual-node", "--node-ip=127.0.0.1", "--cluster-id=test", "--listen=127.0.0.1:10250",
		"--client-ca-file="+authority, "--tls-cert-file="+authority, "--tls-private-key-file="+write("key", string(key)),
		"--health-listen=127.0.0.1:0", "--cci-endpoint=https://127.0.0.1:1", "--iam-endpoint=https://127.0.0.1:1",
		"--cci-region=test", "--cci-project-id=test", "--cci-namespace=test", "--cci-subnet-id=test",
		"--cci-security-group-id=test", "--cci-credentials-file="+write("keys.yaml", "accessKey: a\nsecretKey: s\n"))
}
