package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// A tenant can write any UID into the owner references of a Pod.
func TestARevisionBelongsToOneNamespace(t *testing.T) {
	inNamespace := func(name string) policy.Revision {
		return policy.RevisionOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: name, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", UID: "rs", Controller: new(true)}},
		}})
	}
	assert.Equal(t, inNamespace("victim"), inNamespace("victim"))
	assert.NotEqual(t, inNamespace("victim"), inNamespace("attacker"))
	assert.NotEqual(t, inNamespace("victim").String(), inNamespace("attacker").String())
}
