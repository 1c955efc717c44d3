package endure

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
)

func cloudAt(server *httptest.Server) cloud { return cloud{system.Cloud{Control: server.URL}} }

func TestDisturbUsesFaultsAndWatches(t *testing.T) {
	var paths []string
	kinds := map[ccisim.FaultKind]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.URL.RequestURI())
		if r.Method == http.MethodPost && r.URL.Path == "/_sim/faults" {
			var fault ccisim.Fault
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&fault))
			kinds[fault.Kind] = true
		}
	}))
	defer server.Close()
	c := cloudAt(server)
	random := rand.New(rand.NewPCG(1, 0))
	for range 200 {
		description, err := c.disturb(t.Context(), random)
		require.NoError(t, err)
		assert.NotEmpty(t, description)
	}
	require.NoError(t, c.resetFaults(t.Context()))
	for _, fault := range faults {
		assert.True(t, kinds[fault.Kind], fault.Kind)
	}
	slices.Sort(paths)
	assert.Equal(t, []string{
		"DELETE /_sim/faults", "POST /_sim/faults", "POST /_sim/history/compact", "POST /_sim/watches/cut",
		"POST /_sim/watches/cut?abrupt=true",
	}, slices.Compact(paths))
}

func TestASimulatorThatRefusesIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	assert.EqualError(t, cloudAt(server).resetFaults(t.Context()),
		"calling the simulator at faults: 404 Not Found: 404 page not found\n")
}
