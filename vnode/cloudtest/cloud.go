// Package cloudtest provides the tests of the virtual node with a simulated cloud behind a real listener, and with a
// client of it. It asserts nothing.
package cloudtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Namespace is the cloud namespace of a Cloud.
const Namespace = "cci-test"

// Timeout is how long a test waits for a condition, Tick how often it checks the condition.
const (
	Timeout = 20 * time.Second
	Tick    = 10 * time.Millisecond
)

// Account is the simulated account.
var Account = ccisim.Credential{AccessKey: "AK", SecretKey: "SK", ProjectID: "project", DomainID: "domain"}

// Cloud is a simulated cloud that runs until the test ends.
type Cloud struct {
	*ccisim.Sim
	// URL is the endpoint.
	URL string
	// Version is the generation of the API that Client uses; empty for 2.0.
	Version policy.CCIVersion
	// Client has the credentials of Account.
	Client *cci.Client
}

// In returns the same cloud with a client of another generation of its API.
func (c *Cloud) In(t testing.TB, version policy.CCIVersion) *Cloud {
	t.Helper()
	in := &Cloud{Sim: c.Sim, URL: c.URL, Version: version}
	in.Client = NewClient(t, in.Config())
	return in
}

// New starts an empty cloud in which all delays are short. It has the policies of the environment, so that tests can be
// run under any. A test that is about one behavior of the service sets that policy itself, by a change.
func New(t testing.TB, changes ...func(*ccisim.Config)) *Cloud {
	t.Helper()
	config := ccisimtest.Quick(Account)
	var err error
	config.Policies, err = faults.FromEnvironment()
	require.NoError(t, err)
	for _, change := range changes {
		change(&config)
	}
	cloud := &Cloud{}
	cloud.Sim, cloud.URL = ccisimtest.Start(t, config)
	cloud.Client = NewClient(t, cloud.Config())
	return cloud
}

// EveryAPI makes a cloud a region that offers all APIs. It is a change for New, for tests that are about one of them.
func EveryAPI(c *ccisim.Config) {
	c.Policies.Events, c.Policies.Unpublished = ccisim.EventsListed, nil
	c.Policies.NoVolumes, c.Policies.NoSnapshots = false, false
}

// NewWithNetwork starts a cloud that accepts Pods in Namespace.
func NewWithNetwork(t testing.TB, changes ...func(*ccisim.Config)) *Cloud {
	t.Helper()
	c := New(t, changes...)
	c.CreateCloudNamespace(t)
	return c
}

// CreateCloudNamespace creates Namespace with a network, and waits until the network is Ready.
func (c *Cloud) CreateCloudNamespace(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	_, err := c.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})
	require.NoError(t, err)
	_, err = c.Client.CreateNetwork(ctx, Namespace, Network("net"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		network, err := c.Client.GetNetwork(ctx, Namespace, "net")
		return err == nil && network.Status.Status == cci.NetworkReady
	}, Timeout, Tick, "the network becomes Ready")
}

// Network returns a network that the cloud accepts.
func Network(name string) *cci.Network {
	meta := metav1.ObjectMeta{Name: name, Annotations: map[string]string{
		cci.NetworkProjectAnnotation: Account.ProjectID, cci.NetworkDomainAnnotation: Account.DomainID,
	}}
	return &cci.Network{ObjectMeta: meta, Spec: cci.NetworkSpec{
		NetworkType: cci.NetworkTypeNeutron, SecurityGroups: []string{"group"}, Subnets: []cci.Subnet{{SubnetID: "subnet"}},
		IPFamilies: []string{"IPv4"}, DefaultNetwork: true, VPCID: "vpc", NetworkID: "neutron-network",
	}}
}

// Config returns the configuration of a client with short delays.
func (c *Cloud) Config() cci.Config {
	return cci.Config{
		Endpoint: c.URL, Version: c.Version, ProjectID: Account.ProjectID,
		Credentials: cci.Credentials{AccessKey: Account.AccessKey, SecretKey: Account.SecretKey},
		QPS:         5000, Burst: 5000, RequestTimeout: 5 * time.Second, Tries: 3, RetryDelay: time.Millisecond,
		Exec: cci.ExecConfig{IAMEndpoint: c.URL},
	}
}

// NewClient returns a client.
func NewClient(t testing.TB, config cci.Config) *cci.Client {
	t.Helper()
	client, err := cci.New(config)
	require.NoError(t, err)
	return client
}

// Behave changes policies of the cloud while it runs.
func (c *Cloud) Behave(t testing.TB, change func(*ccisim.Policies)) {
	t.Helper()
	policies := c.Policies()
	change(&policies)
	require.NoError(t, c.SetPolicies(policies))
}

// Fault switches a fault on and returns a function that switches it off.
func (c *Cloud) Fault(t testing.TB, fault ccisim.Fault) (off func()) {
	t.Helper()
	added, err := c.AddFault(fault)
	require.NoError(t, err)
	return func() { c.RemoveFault(added.ID) }
}
