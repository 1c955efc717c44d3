package system

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
			want:  []string{`topology: "mesh": must be sidecar (empty) or service`},
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
