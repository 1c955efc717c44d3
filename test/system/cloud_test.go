package system

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
			got, err := Cloud{Control: server.URL}.PodsByUID(t.Context())
			if test.err != "" {
				assert.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}
