package endure

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
)

func podRecord(name, uid string, deleted bool) ccisim.PodRecord {
	record := ccisim.PodRecord{Name: name, Annotations: map[string]string{policy.CloudUIDAnnotation: uid}}
	if deleted {
		record.Deleted = new(time.Unix(1, 0))
	}
	return record
}

func TestPodsOfTheCloud(t *testing.T) {
	for name, test := range map[string]struct {
		ever []ccisim.PodRecord
		want map[types.UID]string
		err  string
	}{
		"none": {nil, map[types.UID]string{}, ""},
		"a deleted Pod": {
			[]ccisim.PodRecord{podRecord("a", "1", false), podRecord("b", "2", true)}, map[types.UID]string{"1": "a"}, "",
		},
		"two for one Pod": {
			[]ccisim.PodRecord{podRecord("a", "1", true), podRecord("b", "1", false)}, nil,
			"the cloud created a and b for the Pod with UID 1: want one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "GET /_sim/pods", r.Method+" "+r.URL.Path)
				assert.NoError(t, json.NewEncoder(w).Encode(test.ever))
			}))
			defer server.Close()
			got, err := cloud{server.URL}.pods(t.Context())
			if test.err != "" {
				assert.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

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
	c := cloud{server.URL}
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
	assert.EqualError(t, cloud{server.URL}.resetFaults(t.Context()), "calling the simulator at faults: 404 Not Found")
}
