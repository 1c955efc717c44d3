package system

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestInvalidConfigurationsAreRefused(t *testing.T) {
	whole := Config{Dir: t.TempDir(), BinDir: t.TempDir(), Shape: DefaultShape()}
	for name, test := range map[string]struct {
		spoil func(*Config)
		want  []string
	}{
		"all errors are reported at once": {
			spoil: func(c *Config) { *c = Config{Shape: Shape{LocalNodes: -1, VirtualNodes: 21, LocalCPU: "many"}} },
			want: []string{
				"the directory of the system is not set", "the directory of the binaries is not set",
				"local nodes: -1: must not be below 0", "virtual nodes: 21: must be between 0 and 20",
				`local CPU: "many": must be a quantity`, `local memory: "": must be a quantity`,
			},
		},
		"an unknown topology": {
			spoil: func(c *Config) { c.Shape.Topology = "mesh" },
			want:  []string{`topology: "mesh": must be sidecar (empty), own-scheduler or service`},
		},
		"two of each program without the extender as a service": {
			spoil: func(c *Config) { c.Shape.HA = true },
			want:  []string{"topology: sidecar: must be service with HA"},
		},
		"more virtual nodes than have ports with HA": {
			spoil: func(c *Config) { c.Shape.HA, c.Shape.Topology, c.Shape.VirtualNodes = true, TopologyService, 6 },
			want:  []string{"virtual nodes: 6: must be between 0 and 5"},
		},
		"an unknown version of Kubernetes": {
			spoil: func(c *Config) { c.Shape.Kubernetes = "1.12" },
			want:  []string{`version of Kubernetes: "1.12": must be one of 1.37, 1.36, 1.35, 1.34`},
		},
		"more zones than virtual nodes": {
			spoil: func(c *Config) { c.Shape.VirtualZones = "a,b" },
			want:  []string{"virtual nodes: 1: must be 2, one for each of the virtual zones a,b, or left out"},
		},
		"a zone twice": {
			spoil: func(c *Config) { c.Shape.VirtualZones, c.Shape.VirtualNodes = "a,a", 2 },
			want:  []string{`virtual zones: "a,a": must be different names that a label can have`},
		},
		"a zone that no label can have": {
			spoil: func(c *Config) { c.Shape.VirtualZones, c.Shape.VirtualNodes = "a, b", 2 },
			want:  []string{`virtual zones: "a, b": must be different names that a label can have`},
		},
		"flags for a second process without HA": {
			spoil: func(c *Config) { c.Args = map[string][]string{Second(Admission): {"--x"}} },
			want:  []string{`args: "admission-1": must be one of`},
		},
		"flags for an extender of the other topology": {
			spoil: func(c *Config) { c.Args = map[string][]string{ExtenderReplica(0): {"--x"}} },
			want:  []string{`args: "extender-0": must be one of`},
		},
		"a process that cannot be omitted": {
			spoil: func(c *Config) { c.Without = []string{Etcd} },
			want:  []string{`without: "etcd": must be one of`},
		},
		"flags for an unknown process": {
			spoil: func(c *Config) { c.Args = map[string][]string{"vnode-1": {"--x"}} },
			want:  []string{`args: "vnode-1": must be one of`},
		},
		"a route and a binary for unknown processes": {
			spoil: func(c *Config) {
				c.Routes = map[string]string{"kubelet": "https://127.0.0.1:1"}
				c.Binaries = map[string]string{"docker": "/bin/true"}
			},
			want: []string{`routes: "kubelet": must be one of`, `binaries: "docker": must be one of`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := whole
			test.spoil(&config)
			_, err := config.check()
			require.Error(t, err)
			for _, message := range test.want {
				assert.ErrorContains(t, err, message)
			}
		})
	}
	_, err := whole.check()
	assert.NoError(t, err)
}

func TestTheProcessesOfAShape(t *testing.T) {
	cluster := []string{ControllerManager, Scheduler, KWOK, CCISim}
	for name, test := range map[string]struct {
		change func(*Shape)
		want   []string
	}{
		"a sidecar": {func(*Shape) {}, append(cluster, Extender, Admission, "vnode-0")},
		"a service": {
			func(s *Shape) { s.Topology = TopologyService },
			append(cluster, "extender-0", "extender-1", Forwarder, Admission, "vnode-0"),
		},
		"HA: the first of each keeps its name": {
			func(s *Shape) { s.Topology, s.HA = TopologyService, true },
			append(cluster, "kube-scheduler-1", Extender, "extender-1", Forwarder, Admission, "admission-1",
				AdmissionForwarder, "vnode-0", "vnode-1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			shape := DefaultShape()
			test.change(&shape)
			config, err := Config{Dir: t.TempDir(), BinDir: t.TempDir(), Shape: shape}.check()
			require.NoError(t, err)
			assert.ElementsMatch(t, test.want, config.wanted())

			s := System{config: config, state: state{Shape: config.Shape, FirstPort: lowestPort}}
			ports := map[int]string{}
			for _, process := range append(config.wanted(), Etcd, APIServer) {
				_, ok := s.args(process)
				assert.True(t, ok, process)
				for _, url := range []string{s.Endpoint(process), s.HealthEndpoint(process)} {
					port := mustPort(t, url)
					assert.Less(t, port, lowestPort+blockSize, process)
					other, taken := ports[port]
					assert.True(t, !taken || other == process, "%s and %s have one port", process, other)
					ports[port] = process
				}
			}
			for _, program := range []string{Extender, Admission} {
				assert.Contains(t, ports, mustPort(t, s.ServiceEndpoint(program)), program)
			}
		})
	}
}

func TestTheConfigurationOfVNodeProcesses(t *testing.T) {
	for name, test := range map[string]struct {
		shape Shape
		want  []string
	}{
		"one virtual node for each process": {
			Shape{VirtualNodes: 2, VirtualZones: "a,b"}, []string{
				"node:\n  name: virtual-node-cci-0\n  zone: a\n", "node:\n  name: virtual-node-cci-1\n  zone: b\n",
			},
		},
		"HA: at least two processes, and each knows all virtual nodes": {
			Shape{VirtualNodes: 1, HA: true}, []string{
				"nodes:\n- name: virtual-node-cci-0\n", "nodes:\n- name: virtual-node-cci-0\n",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := System{config: Config{Dir: t.TempDir(), Shape: test.shape}, state: state{Shape: test.shape}}
			require.NoError(t, os.MkdirAll(s.data(""), 0o755))
			require.NoError(t, s.writeVNodeConfigs())
			for i, want := range test.want {
				content, err := os.ReadFile(s.vnodeConfigFile(i))
				require.NoError(t, err)
				assert.Equal(t, vnodeConfig+want, string(content))
			}
		})
	}
}

func mustPort(t *testing.T, address string) int {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(parsed.Port())
	require.NoError(t, err)
	return port
}

func TestLocalNodesAreSpreadOverTheZones(t *testing.T) {
	s := System{state: state{Shape: Shape{LocalNodes: 3, LocalCPU: "1", LocalMemory: "1Gi", VirtualZones: "a,b"}}}
	var zones []string
	for i := range 3 {
		zones = append(zones, s.localNodeInZone(i).Labels[corev1.LabelTopologyZone])
	}
	assert.Equal(t, []string{"a", "b", "a"}, zones)
	s.state.Shape.VirtualZones = ""
	assert.NotContains(t, s.localNodeInZone(0).Labels, corev1.LabelTopologyZone)
}

// The modules in test/cluster determine which versions can be built.
func TestTheVersionsOfKubernetesAreThoseOfTheModules(t *testing.T) {
	content, err := os.ReadFile("../cluster/go.mod")
	require.NoError(t, err)
	versions := []string{string(regexp.MustCompile(`k8s\.io/kubernetes v(1\.\d+)`).FindSubmatch(content)[1])}
	modules, err := filepath.Glob("../cluster/1.*/go.mod")
	require.NoError(t, err)
	slices.Reverse(modules)
	for _, module := range modules {
		version := filepath.Base(filepath.Dir(module))
		content, err := os.ReadFile(module)
		require.NoError(t, err)
		assert.Regexp(t, `k8s\.io/kubernetes v`+regexp.QuoteMeta(version)+`\.`, string(content))
		versions = append(versions, version)
	}
	assert.Equal(t, versions, KubernetesVersions)
}

func TestAnOlderControlPlaneHasADirectoryOfItsOwn(t *testing.T) {
	config := Config{BinDir: "bin", Shape: Shape{Kubernetes: "1.34"}}
	assert.Equal(t, "bin/k8s-1.34/kube-apiserver", (&System{config: config}).binary(APIServer))
	assert.Equal(t, "bin/kwok", (&System{config: config}).binary(KWOK))
	config.Shape.Kubernetes = newestKubernetes
	assert.Equal(t, "bin/kube-apiserver", (&System{config: config}).binary(APIServer))
}
