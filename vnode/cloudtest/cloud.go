// Package cloudtest gives the tests of the virtual node a simulated cloud behind a real listener, and a client of it. It judges nothing.
package cloudtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Namespace is the CCI namespace of a Cloud.
const Namespace = "cci-test"

// Patience is how long a test waits for what must come, Tick how often it looks.
const (
	Patience = 20 * time.Second
	Tick     = 10 * time.Millisecond
)

// Account is the simulated account.
var Account = ccisim.Credential{AccessKey: "AK", SecretKey: "SK", ProjectID: "project", DomainID: "domain"}

// Cloud is a simulated cloud that runs until the test ends.
type Cloud struct {
	*ccisim.Sim
	// URL is the endpoint.
	URL string
	// Version is the generation that Client asks; empty for 2.0.
	Version policy.CCIVersion
	// Client is signed in.
	Client *cci.Client
}

// In makes a client of a generation of the same cloud.
func (c *Cloud) In(t testing.TB, version policy.CCIVersion) *Cloud {
	t.Helper()
	in := &Cloud{Sim: c.Sim, URL: c.URL, Version: version}
	in.Client = NewClient(t, in.Config())
	return in
}

// New starts a cloud whose every delay is short, with nothing in it.
func New(t testing.TB, changes ...func(*ccisim.Config)) *Cloud {
	t.Helper()
	config := ccisimtest.Quick(Account)
	for _, change := range changes {
		change(&config)
	}
	cloud := &Cloud{}
	cloud.Sim, cloud.URL = ccisimtest.Start(t, config)
	cloud.Client = NewClient(t, cloud.Config())
	return cloud
}

// NewWithNetwork starts a cloud that takes Pods in Namespace.
func NewWithNetwork(t testing.TB, changes ...func(*ccisim.Config)) *Cloud {
	t.Helper()
	c := New(t, changes...)
	c.MakePlace(t)
	return c
}

// MakePlace makes Namespace, and in it a network that is Ready.
func (c *Cloud) MakePlace(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	_, err := c.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})
	require.NoError(t, err)
	_, err = c.Client.CreateNetwork(ctx, Namespace, Network("net"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		network, err := c.Client.GetNetwork(ctx, Namespace, "net")
		return err == nil && network.Status.Status == cci.NetworkReady
	}, Patience, Tick, "the network becomes Ready")
}

// Network is one that the cloud takes.
func Network(name string) *cci.Network {
	return &cci.Network{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: cci.NetworkSpec{
		NetworkType: cci.NetworkTypeNeutron, SecurityGroups: []string{"group"}, Subnets: []cci.Subnet{{SubnetID: "subnet"}},
		IPFamilies: []string{"IPv4"}, DefaultNetwork: true, VPCID: "vpc", NetworkID: "neutron-network",
	}}
}

// Config is that of a client which loses no time.
func (c *Cloud) Config() cci.Config {
	return cci.Config{
		Endpoint: c.URL, Version: c.Version, ProjectID: Account.ProjectID,
		Credentials: cci.Credentials{AccessKey: Account.AccessKey, SecretKey: Account.SecretKey},
		QPS:         5000, Burst: 5000, RequestTimeout: 5 * time.Second, Tries: 3, RetryDelay: time.Millisecond,
		Exec: cci.ExecConfig{IAMEndpoint: c.URL},
	}
}

// NewClient makes a client.
func NewClient(t testing.TB, config cci.Config) *cci.Client {
	t.Helper()
	client, err := cci.New(config)
	require.NoError(t, err)
	return client
}

// Fault switches a fault on and returns what switches it off.
func (c *Cloud) Fault(t testing.TB, fault ccisim.Fault) (off func()) {
	t.Helper()
	added, err := c.AddFault(fault)
	require.NoError(t, err)
	return func() { c.RemoveFault(added.ID) }
}
