package cci_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func TestAQuotaHasNoRoomForAPod(t *testing.T) {
	for _, version := range []policy.CCIVersion{policy.CCI2, policy.CCI1} {
		for shape, words := range map[faults.QuotaErrors]string{
			faults.KubernetesQuota: "exceeded quota: compute-resources, requested: pods=1, used: pods=1, limited: pods=1",
			faults.PlainQuota:      "the pods quota of the account is used up: 1 of 1",
		} {
			t.Run(string(version)+" "+string(shape), func(t *testing.T) {
				cloud := cloudtest.New(t, cloudtest.EveryAPI, func(c *ccisim.Config) {
					c.Policies.QuotaErrors = shape
				}).In(t, version)
				cloud.CreateCloudNamespace(t)
				ctx, client, ns := t.Context(), cloud.Client, cloudtest.Namespace
				raise := cloud.Fault(t, ccisim.Fault{Kind: faults.Quota, Hard: corev1.ResourceList{
					corev1.ResourcePods: resource.MustParse("1"), corev1.ResourceCPU: resource.MustParse("100"),
				}})
				_, err := client.CreatePod(ctx, ns, pod1("web", "nginx"))
				require.NoError(t, err)
				_, err = client.CreatePod(ctx, ns, pod1("web-2", "nginx"))
				assert.True(t, cci.IsQuotaExceeded(err), "%v", err)
				require.ErrorContains(t, err, words)

				quotas, err := client.NamespaceQuotas(ctx, ns)
				if version == policy.CCI1 {
					require.NoError(t, err)
					require.Len(t, quotas, 1)
					assert.Equal(t, "1", quotas[0].Status.Hard.Pods().String())
					assert.Equal(t, "1", quotas[0].Status.Used.Pods().String())
				} else {
					assert.True(t, cci.IsNotOffered(err), "%v", err)
				}
				raise()
				_, err = client.CreatePod(ctx, ns, pod1("web-2", "nginx"))
				require.NoError(t, err)
			})
		}
	}
}

// A region may lack the quotas, and the key may not be allowed to read them.
func TestQuotasThatCannotBeRead(t *testing.T) {
	cloud := cloudtest.New(t, cloudtest.EveryAPI).In(t, policy.CCI1)
	cloud.CreateCloudNamespace(t)
	_, err := cloud.Client.NamespaceQuotas(t.Context(), "gone")
	assert.True(t, cci.IsNotFound(err), "%v", err)
	cloud.Behave(t, func(p *ccisim.Policies) { p.Unpublished = []string{"resourcequotas"} })
	_, err = cloud.Client.NamespaceQuotas(t.Context(), cloudtest.Namespace)
	assert.True(t, cci.IsNotOffered(err), "%v", err)
}
