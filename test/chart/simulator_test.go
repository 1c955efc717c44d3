package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

// The key is a secret: a client that has it can run Pods in the simulated cloud, and read what is copied there.
func TestTheSimulatorHasARandomKey(t *testing.T) {
	secret := func() map[string][]byte {
		found, err := trial.Client().CoreV1().Secrets(namespace).Get(t.Context(), "spillway-simulator", metav1.GetOptions{})
		require.NoError(t, err)
		return found.Data
	}
	var before map[string][]byte
	t.Run("one release", func(t *testing.T) {
		install(t, simulated()...)
		before = secret()
		assert.Len(t, before["accessKey"], 20)
		assert.Len(t, before["secretKey"], 40)
		file := filepath.Join(t.TempDir(), "credentials.yaml")
		require.NoError(t, os.WriteFile(file, before["credentials.yaml"], 0o600))
		accepted, err := ccisim.LoadCredentials(file)
		require.NoError(t, err)
		assert.Equal(t, []ccisim.Credential{
			{AccessKey: string(before["accessKey"]), SecretKey: string(before["secretKey"])},
		}, accepted)
		upgrade(t, simulated("--set", "admission.replicas=2")...)
		assert.Equal(t, before, secret(), "an upgrade keeps the key")
	})
	t.Run("another release", func(t *testing.T) {
		install(t, simulated()...)
		assert.NotEqual(t, before["secretKey"], secret()["secretKey"])
	})
}

// The simulator keeps what it gets where every virtual node can read it.
func TestTokensAreNotCopiedToTheSimulator(t *testing.T) {
	dir := configFiles(t, "spillway-vnode", simulated("--set", "vnode.pods.serviceAccountTokens=true")...)
	content, err := os.ReadFile(filepath.Join(dir, "vnode.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(content), "serviceAccountTokens: false")
}
