package policy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

func TestParseLocalReplicas(t *testing.T) {
	for value, want := range map[string]int{"0": 0, "1": 1, "007": 7, "2147483647": 2147483647} {
		t.Run(value, func(t *testing.T) {
			got, ok, err := policy.ParseLocalReplicas(map[string]string{"LOCAL_REPLICAS": value})
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, want, got)
		})
	}
	got, ok, err := policy.ParseLocalReplicas(map[string]string{"local_replicas": "1"})
	require.NoError(t, err)
	assert.Zero(t, got)
	assert.False(t, ok, "a missing annotation is no quota")
}

func TestParseLocalReplicasNamesKeyValueAndWhatIsRight(t *testing.T) {
	for _, value := range []string{
		"", " ", "-1", "+1", "1.5", "1e3", "1_000", "0x10", "50%", " 1", "2147483648", "99999999999999999999", "一",
	} {
		t.Run(value, func(t *testing.T) {
			got, ok, err := policy.ParseLocalReplicas(map[string]string{"LOCAL_REPLICAS": value})
			assert.True(t, ok, "the annotation is there")
			assert.Zero(t, got)
			assert.EqualError(
				t,
				err,
				fmt.Sprintf(`LOCAL_REPLICAS: invalid value %q: must be a whole number from 0 to 2147483647, such as "1"`, value),
			)
		})
	}
}
