package system

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigIsRefusedWithWords(t *testing.T) {
	whole := Config{Dir: t.TempDir(), BinDir: t.TempDir(), Shape: DefaultShape()}
	for name, test := range map[string]struct {
		spoil func(*Config)
		want  []string
	}{
		"every fault is named at once": {
			spoil: func(c *Config) { *c = Config{Shape: Shape{LocalNodes: -1, VirtualNodes: 21, LocalCPU: "many"}} },
			want: []string{
				"the directory of the system is not set", "the directory of the binaries is not set", "local nodes: -1 is below 0",
				"virtual nodes: 21 is not between 0 and 20", `local CPU: "many" is not a quantity`, `local memory: "" is not a quantity`,
			},
		},
		"a topology that there is not": {
			spoil: func(c *Config) { c.Shape.Topology = "mesh" },
			want:  []string{`topology: "mesh" is neither sidecar (empty) nor service`},
		},
		"flags for an extender of the other topology": {
			spoil: func(c *Config) { c.Args = map[string][]string{ExtenderReplica(0): {"--x"}} },
			want:  []string{`args: "extender-0" is none of`},
		},
		"a process that cannot be left out": {
			spoil: func(c *Config) { c.Without = []string{Etcd} },
			want:  []string{`without: "etcd" is none of`},
		},
		"flags for a process that there is not": {
			spoil: func(c *Config) { c.Args = map[string][]string{"vnode-1": {"--x"}} },
			want:  []string{`args: "vnode-1" is none of`},
		},
		"a route and a binary for processes that there are not": {
			spoil: func(c *Config) {
				c.Routes, c.Binaries = map[string]string{"kubelet": "https://127.0.0.1:1"}, map[string]string{"docker": "/bin/true"}
			},
			want: []string{`routes: "kubelet" is none of`, `binaries: "docker" is none of`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := whole
			test.spoil(&config)
			_, err := config.check()
			require.Error(t, err)
			for _, words := range test.want {
				assert.ErrorContains(t, err, words)
			}
		})
	}
	_, err := whole.check()
	assert.NoError(t, err)
}
