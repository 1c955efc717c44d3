package cloudtest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func TestACloudAcceptsRequestsInItsNamespace(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	network, err := cloud.Client.GetNetwork(t.Context(), cloudtest.Namespace, "net")
	require.NoError(t, err)
	assert.Equal(t, cci.NetworkReady, network.Status.Status)
	pods, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, pods.Items)
}

func TestAFaultAppliesUntilItIsSwitchedOff(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	read := func() error {
		_, err := cloud.Client.GetNamespace(t.Context(), cloudtest.Namespace)
		return err
	}
	off := cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears})
	assert.True(t, cci.IsDenied(read()))
	off()
	assert.NoError(t, read())
}

func TestBothGenerationsShareOneCloud(t *testing.T) {
	cloud := cloudtest.New(t)
	first := cloud.In(t, policy.CCI1)
	assert.Same(t, cloud.Sim, first.Sim)
	_, err := first.Client.CreateNamespace(t.Context(), &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "first"}})
	require.NoError(t, err)
	_, err = cloud.Client.GetNamespace(t.Context(), "first")
	assert.True(t, cci.IsNotFound(err), "a namespace belongs to one generation")
}

func TestTheEnvironmentSetsPolicies(t *testing.T) {
	t.Setenv(faults.PoliciesVariable, `{"bareErrors":true,"events":"none"}`)
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.Events = ccisim.EventsWatched })
	assert.True(t, cloud.Policies().BareErrors)
	assert.Equal(t, ccisim.EventsWatched, cloud.Policies().Events, "a test decides about its own subject")
}
