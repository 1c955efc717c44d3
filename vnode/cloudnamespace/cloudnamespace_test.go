package cloudnamespace_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func config() cloudnamespace.Config {
	return cloudnamespace.Config{
		Namespace: cloudtest.Namespace, Subnets: []string{"subnet"}, SecurityGroups: []string{"group"},
		ProjectID: "project", DomainID: "domain", ClusterID: "prod", Poll: time.Millisecond,
	}
}

// reports keeps the last report.
type reports struct {
	mu   sync.Mutex
	last error
}

func (r *reports) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

func (r *reports) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Ensure reports why the cloud namespace is not ready, with what an administrator can do. It retries what may be
// temporary.
func TestEnsureReportsWhyTheCloudNamespaceIsNotReady(t *testing.T) {
	refusal := func(status int, code, message, path string) ccisim.Fault {
		return ccisim.Fault{
			Kind: ccisim.ServerError, Status: status, ErrorCode: code, Message: message, Verb: "create", Path: path,
		}
	}
	cases := map[string]struct {
		fault ccisim.Fault
		want  []string
		// permanent says that Ensure does not retry.
		permanent bool
	}{
		"a missing agency": {ccisim.Fault{Kind: ccisim.NoAgency}, []string{"CCI.01.403122", "open the CCI console"}, false},
		"arrears":          {ccisim.Fault{Kind: ccisim.Arrears}, []string{"CCI.01.403009", "settle the balance"}, false},
		"no permission for namespaces": {refusal(403, "CCI.01.403103", "no permission", "namespaces$"),
			[]string{"creating cloud namespace", "cci:namespace:*"}, false},
		"no permission in the namespace": {refusal(403, "CCI.01.403110", "no permission", "networks$"),
			[]string{"creating network", "cci:namespaceSubResource:*"}, false},
		"no capacity in the region": {refusal(400, "CCI.02.400116", "NoAllocatedCluster", "namespaces$"),
			[]string{"NoAllocatedCluster", "another region"}, false},
		"throttling": {ccisim.Fault{Kind: ccisim.Throttle}, []string{"429"}, false},
		"a page of a firewall": {ccisim.Fault{Kind: ccisim.ServerError, Status: 403, HTML: true, Message: "Blocked"},
			[]string{"403", "Blocked"}, false},
		"the quota of namespaces": {refusal(400, "CCI.02.400106", "quota used up", "namespaces$"),
			[]string{"creating cloud namespace", "larger quota"}, true},
		"no security group": {refusal(400, "CCI.01.400101", "securitygroup can not be empty", "networks$"),
			[]string{"creating network", "securitygroup can not be empty"}, true},
		"a subnet that is in use": {refusal(403, "", "subnetID subnet is not allowed to be duplicated", "networks$"),
			[]string{"not allowed to be duplicated"}, true},
		"a wrong subnet or security group, detected late": {ccisim.Fault{Kind: ccisim.NetworkFailed}, []string{
			"NetworkSynced", "a subnet or a security group was not found", "Neutron IDs", "delete the network",
		}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			lift := cloud.Fault(t, tc.fault)
			var seen reports
			c := config()
			c.Report = seen.note
			ended := make(chan error, 1)
			go func() { ended <- cloudnamespace.Ensure(t.Context(), cloud.Client, c, slog.New(slog.DiscardHandler)) }()
			if tc.permanent {
				err := <-ended
				require.ErrorIs(t, err, cloudnamespace.ErrUnusable)
				for _, want := range tc.want {
					assert.ErrorContains(t, err, want)
				}
				assert.Error(t, seen.get())
				return
			}
			for _, want := range tc.want {
				require.EventuallyWithT(t, func(c *assert.CollectT) {
					assert.ErrorContains(c, seen.get(), want)
				}, cloudtest.Timeout, cloudtest.Tick)
			}
			lift()
			require.NoError(t, <-ended)
			assert.NoError(t, seen.get())
		})
	}
}

// The service accepts a subnet ID that does not exist and leaves the network Pending.
func TestEnsureExplainsANetworkThatStaysPending(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.NetworkDelay = time.Hour })
	var seen reports
	c := config()
	c.Report = seen.note
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cloudnamespace.Ensure(ctx, cloud.Client, c, slog.New(slog.DiscardHandler)) }()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, seen.get(), `network spillway to be Ready: it is "Pending"`)
		assert.ErrorContains(c, seen.get(), "Neutron IDs, not the VPC's")
	}, cloudtest.Timeout, cloudtest.Tick)
	cancel()
	assert.ErrorIs(t, <-ended, context.Canceled)
}

// CCI 1.0 has other objects, with less detail.
func TestEnsureWithCCI1(t *testing.T) {
	cloud := cloudtest.New(t).In(t, policy.CCI1)
	c := config()
	c.VPCID, c.NetworkID, c.AvailabilityZone, c.CIDR = "vpc", "neutron", "cn-north-4a", "10.0.0.0/24"
	quiet := slog.New(slog.DiscardHandler)
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet))
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet), "an existing one is not changed")
	err := cloud.Client.UpdateNetwork(t.Context(), cloudtest.Namespace, "spillway",
		cci.NetworkChange{Subnets: []cci.Subnet{{SubnetID: "more"}}})
	require.True(t, cci.IsPermanent(err), "%v", err)
	require.ErrorContains(t, err, "has one subnet")
	networks, err := cloud.Client.ListNetworks(t.Context(), cloudtest.Namespace)
	require.NoError(t, err)
	require.Len(t, networks, 1)
	assert.Equal(t, cci.NetworkSpec{
		NetworkType: cci.NetworkTypeNeutron, SecurityGroups: []string{"group"}, Subnets: []cci.Subnet{{SubnetID: "subnet"}},
		VPCID: "vpc", NetworkID: "neutron", AvailabilityZone: "cn-north-4a", CIDR: "10.0.0.0/24",
	}, networks[0].Spec)
	assert.Equal(t, "project", networks[0].Annotations["network.alpha.kubernetes.io/project-id"])
	assert.Equal(t, "domain", networks[0].Annotations["network.alpha.kubernetes.io/domain-id"])

	cloud.Fault(t, ccisim.Fault{Kind: ccisim.NetworkFailed})
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		assert.ErrorContains(collect, cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet),
			"a subnet or a security group was not found")
	}, cloudtest.Timeout, cloudtest.Tick)
	c.VPCID, c.Namespace = "", "other"
	assert.ErrorContains(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet), "spec.attachedVPC: Required value")
}

func TestEnsureCreatesOnceAndChangesNothing(t *testing.T) {
	cloud := cloudtest.New(t)
	quiet := slog.New(slog.DiscardHandler)
	var group sync.WaitGroup
	for range 4 { // Virtual nodes that start at the same time.
		group.Go(func() { assert.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), quiet)) })
	}
	group.Wait()
	networks, err := cloud.Client.ListNetworks(t.Context(), cloudtest.Namespace)
	require.NoError(t, err)
	require.Len(t, networks, 1)
	assert.Equal(t, []cci.Subnet{{SubnetID: "subnet"}}, networks[0].Spec.Subnets)
}

// When the addresses of a network run out, an administrator adds subnets to the configuration. Others that share the
// namespace do not know them. No other change of the subnets is possible while Pods run.
func TestEnsureAddsSubnets(t *testing.T) {
	for name, test := range map[string]struct {
		// network is what exists, before what is configured, after what the network is in then.
		network               string
		before, config, after []string
		// warns names the subnets that others have added.
		warns, err string
	}{
		"one more":               {"spillway", []string{"a"}, []string{"a", "b"}, []string{"a", "b"}, "", ""},
		"two more, before it":    {"spillway", []string{"a"}, []string{"c", "b", "a"}, []string{"a", "c", "b"}, "", ""},
		"one more, of the user":  {"default-network", []string{"a"}, []string{"a", "b"}, []string{"a", "b"}, "", ""},
		"the same in any order":  {"spillway", []string{"a", "b"}, []string{"b", "a"}, []string{"a", "b"}, "", ""},
		"a part of the user's":   {"default-network", []string{"a", "b"}, []string{"a"}, []string{"a", "b"}, "[b]", ""},
		"others have added one":  {"spillway", []string{"a", "b"}, []string{"a"}, []string{"a", "b"}, "[b]", ""},
		"both have added one":    {"spillway", []string{"a", "b"}, []string{"a", "c"}, []string{"a", "b", "c"}, "[b]", ""},
		"another one":            {"spillway", []string{"a"}, []string{"b"}, []string{"a"}, "", "not in the configured b"},
		"another, of the user's": {"default-network", []string{"a"}, []string{"b"}, []string{"a"}, "", "the configured b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			ctx, ns := t.Context(), cloudtest.Namespace
			_, err := cloud.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
			require.NoError(t, err)
			network := cloudtest.Network(test.network)
			network.Labels = map[string]string{"team": "net"}
			network.Spec.Subnets = nil
			for _, id := range test.before {
				network.Spec.Subnets = append(network.Spec.Subnets, cci.Subnet{SubnetID: id})
			}
			_, err = cloud.Client.CreateNetwork(ctx, ns, network)
			require.NoError(t, err)
			c := config()
			c.Subnets = test.config
			var group sync.WaitGroup
			for range 3 { // Virtual nodes that start at the same time.
				group.Go(func() {
					var log bytes.Buffer
					err := cloudnamespace.Ensure(ctx, cloud.Client, c, slog.New(slog.NewTextHandler(&log, nil)))
					if test.err == "" {
						assert.NoError(t, err)
						assert.Equal(t, test.warns != "", strings.Contains(log.String(), "level=WARN"), log.String())
						assert.Contains(t, log.String(), test.warns)
						return
					}
					assert.ErrorIs(t, err, cloudnamespace.ErrUnusable)
					assert.ErrorContains(t, err, test.err)
				})
			}
			group.Wait()
			found, err := cloud.Client.GetNetwork(ctx, ns, test.network)
			require.NoError(t, err)
			var ids []string
			for _, subnet := range found.Spec.Subnets {
				ids = append(ids, subnet.SubnetID)
			}
			assert.Equal(t, test.after, ids)
			assert.Equal(t, network.Labels, found.Labels, "everything else is kept")
			assert.Equal(t, network.Spec.SecurityGroups, found.Spec.SecurityGroups)
		})
	}
}

// The setting applies to a live network, too. It is removed from a network that vnode has created only: the owner of
// another one may have set it.
func TestEnsureSetsTheWarmAddresses(t *testing.T) {
	const size, recycle = "yangtse.io/warm-pool-size", "yangtse.io/warm-pool-recycle-interval"
	quiet := slog.New(slog.DiscardHandler)
	// pools returns the settings of the network, without the other annotations.
	pools := func(t *testing.T, cloud *cloudtest.Cloud, name string) map[string]string {
		t.Helper()
		network, err := cloud.Client.GetNetwork(t.Context(), cloudtest.Namespace, name)
		require.NoError(t, err)
		assert.Equal(t, "project", network.Annotations[cci.NetworkProjectAnnotation], "other annotations are kept")
		found := map[string]string{}
		for _, key := range []string{size, recycle} {
			if value, ok := network.Annotations[key]; ok {
				found[key] = value
			}
		}
		return found
	}
	ensure := func(t *testing.T, cloud *cloudtest.Cloud, pool cloudnamespace.WarmPool) {
		t.Helper()
		c := config()
		c.WarmPool = pool
		require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet))
	}
	ten := cloudnamespace.WarmPool{Size: 10, RecycleInterval: 2 * time.Hour}
	t.Run("of a network that it creates", func(t *testing.T) {
		t.Parallel()
		cloud := cloudtest.New(t)
		ensure(t, cloud, ten)
		assert.Equal(t, map[string]string{size: "10", recycle: "2"}, pools(t, cloud, "spillway"))
		ensure(t, cloud, cloudnamespace.WarmPool{Size: 5})
		assert.Equal(t, map[string]string{size: "5"}, pools(t, cloud, "spillway"))
		ensure(t, cloud, cloudnamespace.WarmPool{})
		assert.Empty(t, pools(t, cloud, "spillway"))
	})
	t.Run("of a network of others", func(t *testing.T) {
		t.Parallel()
		cloud := cloudtest.New(t)
		ctx, ns := t.Context(), cloudtest.Namespace
		_, err := cloud.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		require.NoError(t, err)
		network := cloudtest.Network("default-network")
		network.Spec.Subnets = []cci.Subnet{{SubnetID: "subnet"}}
		network.Annotations[size] = "3"
		_, err = cloud.Client.CreateNetwork(ctx, ns, network)
		require.NoError(t, err)
		ensure(t, cloud, cloudnamespace.WarmPool{})
		assert.Equal(t, map[string]string{size: "3"}, pools(t, cloud, "default-network"))
		ensure(t, cloud, ten)
		assert.Equal(t, map[string]string{size: "10", recycle: "2"}, pools(t, cloud, "default-network"))
	})
	t.Run("unless the service refuses them", func(t *testing.T) {
		t.Parallel()
		cloud := cloudtest.New(t)
		ensure(t, cloud, cloudnamespace.WarmPool{})
		cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 422, Verb: "update", Message: "at most 5"})
		c := config()
		c.WarmPool = ten
		err := cloudnamespace.Ensure(t.Context(), cloud.Client, c, quiet)
		require.ErrorIs(t, err, cloudnamespace.ErrUnusable)
		assert.ErrorContains(t, err, "updating network spillway")
		assert.ErrorContains(t, err, "at most 5")
	})
}

// The message says why the service refuses a subnet.
func TestEnsureReportsARefusedSubnet(t *testing.T) {
	cloud := cloudtest.New(t)
	quiet := slog.New(slog.DiscardHandler)
	require.NoError(t, cloudnamespace.Ensure(t.Context(), cloud.Client, config(), quiet))
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 403, Verb: "update", Message: "subnet more not in VPC"})
	more := config()
	more.Subnets = append(more.Subnets, "more")
	err := cloudnamespace.Ensure(t.Context(), cloud.Client, more, quiet)
	require.ErrorIs(t, err, cloudnamespace.ErrUnusable)
	assert.ErrorContains(t, err, "updating network spillway")
	assert.ErrorContains(t, err, "subnet more not in VPC")
}
