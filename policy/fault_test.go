package policy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
)

func TestFaultsTakesApartWhatParsersReturn(t *testing.T) {
	_, _, quota := policy.ParseLocalReplicas(map[string]string{"LOCAL_REPLICAS": "two"})
	_, replacements := policy.ParseReplacements(map[string]string{replacementAnnotation: `[{"policyType":"remove"},{"name":"a","policyType":"remove"},{"name":"a","policyType":"x"}]`})
	_, broken := policy.ParseReplacements(map[string]string{replacementAnnotation: `{`})

	got := policy.Faults(errors.Join(quota, errors.New("of someone else"), replacements, nil, broken))

	require.Len(t, got, 5)
	assert.Equal(t, policy.Fault{Key: "LOCAL_REPLICAS", Kind: field.ErrorTypeInvalid, Value: "two", Right: `must be a whole number from 0 to 2147483647, such as "1"`}, *got[0])
	assert.Equal(t, policy.Fault{Key: replacementAnnotation, Path: "[0].name", Kind: field.ErrorTypeRequired, Right: `must be the name of a volume or "*"`}, *got[1])
	assert.Equal(t, policy.Fault{Key: replacementAnnotation, Path: "[2].name", Kind: field.ErrorTypeDuplicate, Value: "a", Right: "each volume has one replacement"}, *got[2])
	assert.Equal(t, policy.Fault{Key: replacementAnnotation, Path: "[2].policyType", Kind: field.ErrorTypeInvalid, Value: "x", Right: "must be remove or replaceByEmptyDir"}, *got[3])
	require.ErrorContains(t, got[4].Cause, "unexpected EOF")
	require.ErrorIs(t, broken, got[4].Cause, "the cause can be told")
	assert.Empty(t, policy.Faults(nil))
	assert.Empty(t, policy.Faults(fmt.Errorf("wrapped: %w", errors.New("none of ours"))))
}
