package policy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
)

func TestFaultsTakesApartWhatParsersReturn(t *testing.T) {
	_, quota := policy.ParseShares(map[string]string{"LOCAL_REPLICAS": "two"})
	_, replacements := policy.ParseReplacements(
		map[string]string{
			replacementAnnotation: `[{"policyType":"remove"},{"name":"a","policyType":"remove"},{"name":"a","policyType":"x"}]`,
		},
	)
	_, broken := policy.ParseReplacements(map[string]string{replacementAnnotation: `{`})

	got := policy.KeyErrors(errors.Join(quota, errors.New("of another package"), replacements, nil, broken))

	require.Len(t, got, 5)
	assert.Equal(
		t,
		policy.KeyError{
			Key:   "LOCAL_REPLICAS",
			Kind:  field.ErrorTypeInvalid,
			Value: "two",
			Right: policy.AmountRight,
		},
		*got[0],
	)
	assert.Equal(
		t,
		policy.KeyError{
			Key:   replacementAnnotation,
			Path:  "[0].name",
			Kind:  field.ErrorTypeRequired,
			Right: `must be the name of a volume or "*"`,
		},
		*got[1],
	)
	assert.Equal(
		t,
		policy.KeyError{
			Key:   replacementAnnotation,
			Path:  "[2].name",
			Kind:  field.ErrorTypeDuplicate,
			Value: "a",
			Right: "each volume has one replacement",
		},
		*got[2],
	)
	assert.Equal(
		t,
		policy.KeyError{
			Key:   replacementAnnotation,
			Path:  "[2].policyType",
			Kind:  field.ErrorTypeInvalid,
			Value: "x",
			Right: "must be remove or replaceByEmptyDir",
		},
		*got[3],
	)
	require.ErrorContains(t, got[4].Cause, "unexpected EOF")
	require.ErrorIs(t, broken, got[4].Cause, "the cause can be told")
	assert.Empty(t, policy.KeyErrors(nil))
	assert.Empty(t, policy.KeyErrors(fmt.Errorf("wrapped: %w", errors.New("none of ours"))))
}

func TestCheckKeysReportsEveryMalformedKeyOfAPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{"virtual-kubelet.io/burst-to-cci": "always"},
		Annotations: map[string]string{"LOCAL_REPLICAS": "two", "AUTO_SCALE_EKS": "yes", replacementAnnotation: "{"},
	}}
	var keys []string
	for _, fault := range policy.KeyErrors(policy.CheckKeys(pod)) {
		keys = append(keys, fault.Key)
	}
	assert.Equal(
		t,
		[]string{"virtual-kubelet.io/burst-to-cci", "LOCAL_REPLICAS", "AUTO_SCALE_EKS", replacementAnnotation},
		keys,
	)
	assert.NoError(t, policy.CheckKeys(&corev1.Pod{}))
}
