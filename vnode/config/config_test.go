package config

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func TestDefaults(t *testing.T) {
	const golden = "testdata/defaults.yaml"
	got, err := yaml.Marshal(Default())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "a default has changed")
}

// required returns the flags without a default, as the trial system sets them.
func required(more ...string) []string {
	return append([]string{
		"--cluster-id=prod", "--node-name=virtual-node-cci-0", "--node-ip=10.0.0.9", "--client-ca-file=ca",
		"--tls-cert-file=crt", "--tls-private-key-file=key",
		"--cci-region=cn-north-4", "--cci-project-id=p", "--cci-credentials-file=c", "--cci-namespace=bursting-prod",
		"--cci-subnet-id=a", "--cci-subnet-id=b", "--cci-security-group-id=g",
	}, more...)
}

func load(c *Config, args ...string) error { return loader.Load("vnode", args, c) }

func TestFlags(t *testing.T) {
	c := Default()
	require.NoError(t,
		load(c, required("--node-cpu=64", "--node-memory=256Gi", "--cluster-dns=10.1.2.3", "--cci-qps=5")...))
	assert.Equal(t, []string{"a", "b"}, c.CCI.SubnetIDs)
	assert.Equal(t, "64", c.Node.CPU.String())
	assert.Equal(t, "256Gi", c.Node.Memory.String())
	assert.Equal(t, []string{"10.1.2.3"}, c.Pods.ClusterDNS)
	assert.Equal(t, "https://cci.cn-north-4.myhuaweicloud.com", c.CCI.ServiceEndpoint())
	assert.Equal(t, "https://iam.cn-north-4.myhuaweicloud.com", c.CCI.TokenEndpoint())
	assert.Equal(t, int32(10250), c.KubeletPort())
}

func TestFormerNamesOfFieldsAreAccepted(t *testing.T) {
	cases := map[string]struct {
		value string
		get   func(*Config) any
		want  any
	}{
		"pods.defaultSize":  {"1.00_2.0", func(c *Config) any { return c.Policy.DefaultSize }, "1.00_2.0"},
		"pods.longestRetry": {"7s", func(c *Config) any { return c.Pods.MaxRetryInterval.Duration }, 7 * time.Second},
		"soldOut.patience":  {"8s", func(c *Config) any { return c.SoldOut.Timeout.Duration }, 8 * time.Second},
		"soldOut.stuckPods": {"wait", func(c *Config) any { return c.SoldOut.StrandedPods }, policy.SoldOutWait},
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(Default().Aliases())), slices.Collect(maps.Keys(cases)))
	for former, tc := range cases {
		t.Run(former, func(t *testing.T) {
			var logs bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&logs, nil)))
			t.Cleanup(func() { slog.SetDefault(before) })
			section, name, _ := strings.Cut(former, ".")
			file := filepath.Join(t.TempDir(), "vnode.yaml")
			require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "%s: {%s: %s}\n", section, name, tc.value), 0o600))
			c := Default()
			require.NoError(t, load(c, required("--config", file)...))
			assert.Equal(t, tc.want, tc.get(c))
			assert.Contains(t, logs.String(), "field="+former+" renamedTo="+c.Aliases()[former])
		})
	}
}

// TestErrors requires that every error names its field, and that all are reported at once.
func TestErrors(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		args   []string
		want   []string
	}{
		"nothing is configured": {nil, nil, []string{
			`clusterID: Invalid value: "": must have 1 to 16 letters`, `node.name: Invalid value: ""`,
			`node.ip: Invalid value: "": must be an IP address`, "clientCAFile: Required value",
			"cci.region: Required value", "cci.projectID: Required value: the console shows it under My Credentials",
			"cci.credentialsFile: Required value", "cci.subnetIDs: Required value", "cci.securityGroupIDs: Required value",
			`cci.namespace: Invalid value: "": must be a valid name of a namespace`,
		}},
		"flags are invalid": {nil, []string{
			"--cluster-id=longer-than-sixteen-characters", "--node-name=UPPER", "--node-ip=here", "--listen=10250",
			"--health-listen=8082", "--node-cpu=0", "--node-pods=-1", "--cci-namespace=UPPER", "--cci-qps=0", "--cci-burst=0",
			"--log-level=loud", "--default-pod-size=3_3", "--cluster-dns=dns", "--time-zone=Nowhere", "--tls-cert-file=crt",
			"--kube-api-qps=0", "--leader-election-namespace=",
		}, []string{
			`clusterID: Invalid value: "longer-than-sixteen-characters"`, `node.name: Invalid value: "UPPER"`,
			`node.ip: Invalid value: "here"`, `listen: Invalid value: "10250": must be host:port with a number`,
			`healthListen: Invalid value: "8082"`, `node.cpu: Invalid value: "0": must be above zero`,
			"node.pods: Invalid value: -1", `cci.namespace: Invalid value: "UPPER"`, "cci.qps: Invalid value: 0",
			"cci.burst: Invalid value: 0", `logging.level: Invalid value: "loud"`, `policy.defaultSize: Invalid value: "3_3"`,
			`pods.clusterDNS[0]: Invalid value: "dns"`, `pods.timeZone: Invalid value: "Nowhere"`,
			"tlsPrivateKeyFile: Required value: must be set together with tlsCertFile", "kube.qps: Invalid value: 0",
			"leaderElectionNamespace: Required value",
		}},
		"the server of Services has no port": {func(c *Config) { c.Services.Address = ":services" }, required(),
			[]string{`services.address: Invalid value: ":services": must be host:port with a number, such as :10260`}},
		"the server of Services has a kubelet port": {func(c *Config) {
			c.Pods.Proxy.Image, c.Listen, c.Nodes = "proxy:1", ":10250", nil
			for i := range 11 {
				c.Nodes = append(c.Nodes, VirtualNode{Name: fmt.Sprintf("virtual-%d", i)})
			}
		}, required(), []string{`services.address: Invalid value: ":10260": must have another port than 10250 to 10260, ` +
			`the kubelet ports of the nodes (listen)`}},
		"the server of Services has the health port": {func(c *Config) {
			c.Pods.KubeProxy.Image, c.HealthListen = "kube-proxy:1", "127.0.0.1:10260"
		}, required(), []string{`services.address: Invalid value: ":10260": must have another port than healthListen, ` +
			`which is 127.0.0.1:10260`}},
		"addresses of the server of Services are malformed": {func(c *Config) {
			c.Pods.Proxy.Addresses = []string{"10.0.0.7:10260", "10.0.0.7", "https://lb:10260", "lb:0", ":10260", "[::1]:1"}
		}, required(), []string{
			`pods.proxy.addresses[1]: Invalid value: "10.0.0.7": must be the host:port of a load balancer or a node`,
			`pods.proxy.addresses[2]: Invalid value: "https://lb:10260"`, `pods.proxy.addresses[3]: Invalid value: "lb:0"`,
			`pods.proxy.addresses[4]: Invalid value: ":10260"`,
		}},
		"a mode of Services does not exist": {func(c *Config) { c.Pods.Services = "sidecar" }, required(), []string{
			`pods.services: Unsupported value: "sidecar": supported values: "off", "routed", "proxy", "kube-proxy"`,
		}},
		"Services are routed, and no name of them can be resolved": {
			func(c *Config) { c.Pods.Services = policy.ServicesRouted }, required(),
			[]string{`pods.services: Invalid value: "routed": needs pods.clusterDNS`},
		},
		"the sidecar of proxy has no image": {
			func(c *Config) { c.Pods.Services = policy.ServicesProxy }, required("--cluster-dns=10.0.0.10"),
			[]string{`pods.services: Invalid value: "proxy": needs pods.proxy.image`},
		},
		"the sidecar of proxy has no name servers": {func(c *Config) {
			c.Pods.Services, c.Pods.Proxy.Image = policy.ServicesProxy, "proxy"
		}, required(), []string{`pods.services: Invalid value: "proxy": needs pods.proxy.nameservers or pods.clusterDNS`}},
		"the sidecar of proxy has a name server that is none": {func(c *Config) {
			c.Pods.Proxy.Nameservers = []string{"10.0.0.10", "dns"}
		}, required(), []string{`pods.proxy.nameservers[1]: Invalid value: "dns": must be an IP address`}},
		"the sidecar of kube-proxy has no image": {
			func(c *Config) { c.Pods.Services = policy.ServicesKubeProxy }, required("--cluster-dns=10.0.0.10"),
			[]string{`pods.services: Invalid value: "kube-proxy": needs pods.kubeProxy.image`},
		},
		"CCI 1.0 has no sidecars": {func(c *Config) {
			c.Pods.Services, c.Pods.Proxy.Image = policy.ServicesProxy, "proxy"
		}, required("--cci-version=1.0", "--cluster-dns=10.0.0.10"), []string{
			`pods.services: Invalid value: "proxy": needs policy.cciVersion 2.0`,
		}},
		"a namespace that all Pods see is malformed": {func(c *Config) {
			c.Pods.Proxy.Namespaces = []string{"shop", "shop-*"}
		}, required(), []string{`pods.proxy.namespaces[1]: Invalid value: "shop-*": must be the name of a namespace`}},
		"the kubelet port has two certificates": {nil, required("--certificate-dir=d"),
			[]string{`certificateDir: Invalid value: "d": must be empty if tlsCertFile is set`}},
		"the certificate has no key": {nil, required("--tls-private-key-file="),
			[]string{"tlsPrivateKeyFile: Required value"}},
		"the key has no certificate": {nil, required("--tls-cert-file="), []string{"tlsCertFile: Required value"}},
		"a quantity is malformed":    {nil, []string{"--node-cpu=many"}, []string{"must be a quantity"}},
		"CCI 1.0 gets two subnets, two security groups and no network": {nil,
			required("--cci-version=1.0", "--cci-security-group-id=h"), []string{
				`cci.subnetIDs: Invalid value: "a,b"`, `cci.securityGroupIDs: Invalid value: "g,h"`,
				"cci.network1.vpcID: Required value", "cci.network1.networkID: Required value",
			}},
		"CCI 1.0 gets a malformed address range": {func(c *Config) { c.CCI.Network1.CIDR = "10.0.0.0" },
			required("--cci-version=1.0"), []string{`cci.network1.cidr: Invalid value: "10.0.0.0"`}},
		"ranges of addresses are malformed": {nil,
			required("--cci-pod-cidr=10.0.1.0", "--cci-pod-cidr=10.0.1.7/24"), []string{
				`cci.podCIDRs[0]: Invalid value: "10.0.1.0": must be the address range of a subnet, such as 10.0.1.0/24`,
				`cci.podCIDRs[1]: Invalid value: "10.0.1.7/24"`,
			}},
		"CCI 2.0 gets a network": {func(c *Config) { c.CCI.Network1.CIDR = "10.0.0.0" }, required(),
			[]string{"cci.network1: Forbidden: must be empty"}},
		"too many warm addresses": {func(c *Config) { c.CCI.WarmPool.Size = 501 }, required(),
			[]string{"cci.warmPool.size: Invalid value: 501: must be a number of addresses, from 1 to 500, or 0 for none"}},
		"fewer warm addresses than none": {func(c *Config) { c.CCI.WarmPool.Size = -1 }, required(),
			[]string{"cci.warmPool.size: Invalid value: -1: must be a number"}},
		"warm addresses for half an hour": {func(c *Config) {
			c.CCI.WarmPool = WarmPoolConfig{Size: 5, RecycleInterval: duration(30 * time.Minute)}
		}, required(), []string{`cci.warmPool.recycleInterval: Invalid value: "30m0s": must be whole hours, such as 2h`}},
		"no warm addresses, but for two hours": {func(c *Config) {
			c.CCI.WarmPool.RecycleInterval = duration(2 * time.Hour)
		}, required(), []string{`cci.warmPool.recycleInterval: Invalid value: "2h0m0s": must be 0 without warmPool.size`}},
		"fewer snapshots than none": {func(c *Config) { c.CCI.ImageSnapshots.Keep = -1 }, required(),
			[]string{"cci.imageSnapshots.keep: Invalid value: -1: must be a number of snapshots, from 1 to 200, or 0"}},
		"snapshots that no Pod uses": {func(c *Config) { c.CCI.ImageSnapshots.Keep = 5 }, required(),
			[]string{"cci.imageSnapshots.keep: Invalid value: 5: must be 0 without autoMatch"}},
		"snapshots of CCI 1.0": {func(c *Config) {
			c.CCI.ImageSnapshots.Keep, c.CCI.ImageSnapshots.AutoMatch = 5, true
		}, required("--cci-version=1.0"), []string{"cci.imageSnapshots.keep: Forbidden: must be 0 with policy.cciVersion"}},
		"snapshots for half a day": {func(c *Config) { c.CCI.ImageSnapshots.Renewal = duration(12 * time.Hour) }, required(),
			[]string{`cci.imageSnapshots.renewal: Invalid value: "12h0m0s": must be whole days, such as 168h`}},
		"snapshots all the time": {func(c *Config) {
			c.CCI.ImageSnapshots.Interval, c.CCI.ImageSnapshots.Removal = duration(0), duration(time.Second)
		}, required(), []string{"cci.imageSnapshots.interval", "cci.imageSnapshots.removal"}},
		"CCI 1.0 gets warm addresses": {func(c *Config) { c.CCI.WarmPool.Size = 5 }, required("--cci-version=1.0"),
			[]string{"cci.warmPool: Forbidden: must be empty with policy.cciVersion 1.0"}},
		"a generation does not exist": {nil, required("--cci-version=3.0"),
			[]string{`policy.cciVersion: Unsupported value: "3.0"`}},
		"temporary keys come with a file": {nil, required("--cci-credentials-from=machine"),
			[]string{`cci.credentialsFile: Invalid value: "c": must be empty if credentialsFrom is machine`}},
		"a source of keys does not exist": {nil, required("--cci-credentials-from=cloud"),
			[]string{`cci.credentialsFrom: Unsupported value: "cloud"`}},
		"an identity does not exist": {nil, required("--identity=kubelet"),
			[]string{`identity: Unsupported value: "kubelet": supported values: "node", "serviceAccount"`}},
		"an endpoint without TLS": {
			nil, required("--cci-endpoint=http://cci.example.com", "--iam-endpoint=http://iam.example.com"), []string{
				`cci.endpoint: Invalid value: "http://cci.example.com": must begin with https://`,
				`cci.iamEndpoint: Invalid value: "http://iam.example.com": must begin with https://`,
			},
		},
		"claims are not copied, but Pods with claims are sent": {func(c *Config) { c.Pods.Claims = false }, required(),
			[]string{
				`policy.volumeKinds: Invalid value: "nas.csi.everest.io,sfsturbo.csi.everest.io"`,
				"must be empty if pods.claims is false",
			}},
		"the file has invalid values without flags": {func(c *Config) {
			c.CCI.Exec.Handshake, c.CCI.Exec.KeepAlive.Duration = "secret", 0
			c.CCI.RequestTimeout.Duration, c.CCI.WatchTimeout.Duration = 0, 0
			c.CCI.RelistInterval.Duration, c.CCI.OrphanInterval.Duration = 0, 0
			c.Usage.Concurrency, c.Usage.Timeout.Duration = 0, 0
			c.Pods.Workers, c.Pods.MirrorRefresh.Duration, c.Pods.MirrorRemoval.Duration = 0, 0, 0
			c.Pods.MaxRetryInterval.Duration, c.Pods.RefusalRetry.Duration = 0, 0
			c.Pods.MirrorLimits = MirrorLimits{ObjectsPerPod: -1}
			c.SoldOut = SoldOutConfig{Signs: "(", StrandedPods: "move", Lock: duration(time.Millisecond)}
		}, required(), []string{
			`cci.exec.handshake: Unsupported value: "secret"`, `cci.exec.keepAlive: Invalid value: "0s": must be 1s or more`,
			"cci.requestTimeout", "cci.watchTimeout", "cci.relistInterval", "cci.orphanInterval",
			"usage.concurrency: Invalid value: 0", `usage.timeout: Invalid value: "0s": must be 100ms or more`,
			"pods.workers", "pods.mirrorRefresh", "pods.mirrorRemoval", "pods.maxRetryInterval", "pods.refusalRetry",
			"pods.mirrorLimits.objectsPerPod: Invalid value: -1: must be above zero", "pods.mirrorLimits.objectsPerNamespace",
			`pods.mirrorLimits.bytesPerNamespace: Invalid value: "0": must be above zero, such as 64Mi`,
			`soldOut.signs: Invalid value: "(": must be a regular expression`,
			`soldOut.strandedPods: Unsupported value: "move": supported values: "reschedule", "wait"`,
			`soldOut.timeout: Invalid value: "0s"`, `soldOut.firstLock: Invalid value: "0s"`,
			`soldOut.lock: Invalid value: "1ms"`,
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := Default()
			if tc.change != nil {
				tc.change(c)
			}
			err := load(c, tc.args...)
			require.ErrorIs(t, err, run.ErrUsage)
			for _, want := range tc.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestValidConfigurations(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		args   []string
	}{
		"the required flags": {nil, required()},
		"a certificate that the cluster signs": {nil,
			required("--certificate-dir=d", "--tls-cert-file=", "--tls-private-key-file=")},
		"a self-signed certificate": {nil, required("--tls-cert-file=", "--tls-private-key-file=")},
		"CCI 1.0 with its network": {func(c *Config) { c.CCI.Network1 = Network1Config{VPCID: "v", NetworkID: "n"} },
			slices.DeleteFunc(required("--cci-version=1.0"), func(flag string) bool { return flag == "--cci-subnet-id=b" })},
		"claims that are neither copied nor sent": {func(c *Config) {
			c.Pods.Claims, c.Policy.VolumeKinds = false, nil
		}, required()},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := Default()
			if tc.change != nil {
				tc.change(c)
			}
			require.NoError(t, load(c, tc.args...))
		})
	}
}

func TestCleanupNeedsNoNode(t *testing.T) {
	c := Default()
	c.ClusterID = "prod"
	c.CCI.Namespace, c.CCI.Region, c.CCI.ProjectID, c.CCI.CredentialsFile = "bursting-prod", "cn-north-4", "p", "c"
	require.NoError(t, c.ValidateCleanup().ToAggregate())
	require.Error(t, c.Validate())
	c.ClusterID, c.CCI.Region = "", ""
	err := c.ValidateCleanup().ToAggregate()
	assert.ErrorContains(t, err, "clusterID")
	assert.ErrorContains(t, err, "cci.region")
}

func TestTranslationFollowsTheConfiguration(t *testing.T) {
	c := Default()
	require.NoError(t, load(c, required("--cci-version=2.0")...))
	got := c.Translation()
	assert.Equal(t, identity.Owner{ClusterID: "prod", Node: "virtual-node-cci-0"}, got.Owner)
	assert.False(t, got.NoClaims)
	assert.False(t, got.NoTokens)
	c.Policy.CCIVersion = policy.CCI1
	assert.True(t, c.Translation().NoClaims, "CCI 1.0 has no PersistentVolumes")
}

func TestSignsPattern(t *testing.T) {
	assert.True(t, Default().SoldOut.SignsPattern().MatchString("flavor is Sold-Out"))
	assert.Nil(t, SoldOutConfig{}.SignsPattern())
}

func TestClientsFailWithoutTheirFiles(t *testing.T) {
	c := Default()
	require.NoError(t, load(c, required("--kubeconfig=nowhere.kubeconfig", "--cci-credentials-file=nowhere.yaml")...))
	_, err := c.KubeClient("vnode")
	assert.ErrorContains(t, err, "nowhere.kubeconfig")
	_, err = c.CloudClient(cci.Config{Logger: slog.New(slog.DiscardHandler)})
	assert.ErrorContains(t, err, "nowhere.yaml")
}

func TestAddressesOfPods(t *testing.T) {
	c := Default()
	c.Node.IP = "192.168.0.9"
	assert.Empty(t, c.addresses().Ranges)
	assert.Equal(t, "192.168.0.9", c.addresses().Node.String())
	c.CCI.Network1.CIDR = "10.2.0.0/16"
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}, c.addresses().Ranges)
	c.CCI.PodCIDRs = []string{"10.1.0.0/16", "fd00::/64"}
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/64")},
		c.addresses().Ranges)
	assert.False(t, Default().addresses().Node.IsValid(), "vnode gc has no node")
}
