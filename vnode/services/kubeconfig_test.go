package services

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

func TestAKubeconfigHasAContextForEachServer(t *testing.T) {
	content, err := Kubeconfig([]string{"10.0.0.9:10260", "10.0.0.8:10260"}, []byte("PEM"), "secret")
	require.NoError(t, err)
	config, err := clientcmd.Load(content)
	require.NoError(t, err)
	assert.Len(t, config.Contexts, 2)
	for _, address := range []string{"10.0.0.9:10260", "10.0.0.8:10260"} {
		client, err := clientcmd.NewNonInteractiveClientConfig(*config, address, nil, nil).ClientConfig()
		require.NoError(t, err)
		assert.Equal(t, "https://"+address, client.Host)
		assert.Equal(t, ServerName, client.ServerName)
		assert.Equal(t, "PEM", string(client.CAData))
		assert.Equal(t, "secret", client.BearerToken)
	}
	assert.Equal(t, "10.0.0.9:10260", config.CurrentContext)
}

func TestAKubeconfigNeedsAnAddress(t *testing.T) {
	_, err := Kubeconfig(nil, []byte("PEM"), "secret")
	assert.ErrorContains(t, err, "the server has no address yet")
}
