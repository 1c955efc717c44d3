package ccisimtest

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestStartServesUntilTestEnds(t *testing.T) {
	var url string
	get := func() (*http.Response, error) {
		response, err := http.Get(url + "/readyz")
		if err == nil {
			require.NoError(t, response.Body.Close())
		}
		return response, err
	}
	t.Run("while it runs", func(t *testing.T) {
		var sim *ccisim.Sim
		sim, url = Start(t, Quick(ccisim.Credential{AccessKey: "a", SecretKey: "s"}))
		response, err := get()
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Empty(t, sim.PodsEver())
	})
	_, err := get()
	assert.Error(t, err, "the listener is closed")
}
