package policy_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/policy"
)

func TestTheMessageAboutMalformedKeysHoldsEveryError(t *testing.T) {
	_, replacementsErr := policy.ParseReplacements(map[string]string{
		policy.HostPathReplacementAnnotation: `[{"name":"a","policyType":"x"},{"policyType":"remove"}]`,
	})
	_, quotaErr := policy.ParseShares(map[string]string{policy.LocalReplicasAnnotation: "x"})
	assert.Equal(t, policy.Message{
		Code: policy.ReasonInvalid,
		Sentence: `LOCAL_REPLICAS: invalid value "x": ` + policy.AmountRight + `; ` +
			`coordinator.cci.io/hostpath-replacement[0].policyType: invalid value "x": ` +
			`must be remove or replaceByEmptyDir; ` +
			`coordinator.cci.io/hostpath-replacement[1].name: must be the name of a volume or "*"; ` +
			`until this is corrected, the Pod is treated as off and does not burst`,
	}, policy.Malformed([]error{quotaErr, replacementsErr}, true, false))
}

func TestTheMessageAboutMalformedKeysSaysWhatTheyMean(t *testing.T) {
	errs := []error{errors.New("a"), errors.New("a")}
	assert.Equal(t, "a; the Pod stays in the cloud; unless this is corrected, it is treated as off when it is created "+
		"again", policy.Malformed(errs, true, true).Sentence)
	assert.Equal(t, "a; this is ignored, because it does not affect where the Pod runs",
		policy.Malformed(errs, false, true).Sentence)
}

func TestAMessageIsARefusalWithAPrefix(t *testing.T) {
	assert.Equal(t, "PreemptFirst: no local node fits; Pods of lower priority on local nodes are evicted before the Pod "+
		"bursts", policy.PreemptFirst().String())
	assert.Equal(t, policy.RefusalPrefix+policy.PreemptFirst().String(), policy.PreemptFirst().Refusal())
}
