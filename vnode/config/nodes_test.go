package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/run"
)

// loadFile loads a configuration file with the required flags, except the name of the node.
func loadFile(t *testing.T, content string, flags ...string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vnode.yaml")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	c := Default()
	return c, load(c, required(append([]string{"--node-name=", "--config", file}, flags...)...)...)
}

func TestANodeHasWhatTheCommonSectionsSayUnlessItSaysOtherwise(t *testing.T) {
	c, err := loadFile(t, `
node:
  cpu: "64"
  zone: north-a
  labels: {team: web, tier: common}
  taints: [{key: dedicated, value: web, effect: NoSchedule}]
nodes:
- name: virtual-a
- name: virtual-b
  zone: north-b
  labels: {tier: special}
  taints: []
  subnetIDs: [c]
  cpu: "8"
  pods: 100
- name: virtual-c
  cloudNamespace: elsewhere
`, "--listen=127.0.0.1:20000")
	require.NoError(t, err)
	nodes := c.PerNode()
	require.Len(t, nodes, 3)
	a, b, elsewhere := nodes[0], nodes[1], nodes[2]

	assert.Equal(t, "virtual-a", a.Node.Name)
	assert.Equal(t, "10.0.0.9", a.Node.IP)
	assert.Equal(t, "64", a.Node.CPU.String())
	assert.Equal(t, int64(3000), a.Node.Pods)
	assert.Equal(t, "north-a", a.Translation().Zone)
	assert.Equal(t, map[string]string{"team": "web", "tier": "common"}, a.Node.Labels)
	assert.Equal(t, []corev1.Taint{{Key: "dedicated", Value: "web", Effect: corev1.TaintEffectNoSchedule}},
		a.Node.Taints)
	assert.Equal(t, []string{"a", "b"}, a.CCI.SubnetIDs)
	assert.Equal(t, "bursting-prod", a.CCI.Namespace)
	assert.Equal(t, "127.0.0.1:20000", a.Listen)

	assert.Equal(t, "virtual-b", b.Owner().Node)
	assert.Equal(t, "8", b.Node.CPU.String())
	assert.Equal(t, "4000Gi", b.Node.Memory.String())
	assert.Equal(t, int64(100), b.Node.Pods)
	assert.Equal(t, "north-b", b.Translation().Zone)
	assert.Equal(t, map[string]string{"team": "web", "tier": "special"}, b.Node.Labels)
	assert.Empty(t, b.Node.Taints)
	assert.Equal(t, []string{"c"}, b.CCI.SubnetIDs)
	assert.Equal(t, "bursting-prod-virtual-b", b.CCI.Namespace, "a cloud namespace has one network")
	assert.Equal(t, "127.0.0.1:20001", b.Listen)
	assert.Equal(t, int32(20001), b.KubeletPort())

	assert.Equal(t, "elsewhere", elsewhere.CCI.Namespace)
	assert.Equal(t, []string{"bursting-prod", "bursting-prod-virtual-b", "elsewhere"}, c.CloudNamespaces())
	for _, node := range nodes {
		assert.NoError(t, node.Validate())
	}
	assert.Equal(t, map[string]string{"team": "web", "tier": "common"}, c.Node.Labels,
		"the common section is unchanged")
}

func TestWithoutAListThereIsTheNodeOfTheFlag(t *testing.T) {
	c := Default()
	require.NoError(t, load(c, required("--certificate-dir=d", "--tls-cert-file=", "--tls-private-key-file=")...))
	assert.Equal(t, []*Config{c}, c.PerNode())
	assert.Equal(t, []string{"bursting-prod"}, c.CloudNamespaces())
}

func TestEachNodeHasADirectoryForItsCertificate(t *testing.T) {
	c, err := loadFile(t, "nodes: [{name: a}, {name: b}]",
		"--certificate-dir=/var/lib/spillway", "--tls-cert-file=", "--tls-private-key-file=")
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/spillway/b", c.PerNode()[1].CertificateDir)
}

func TestErrorsOfNodes(t *testing.T) {
	for name, test := range map[string]struct {
		file  string
		flags []string
		want  string
	}{
		"two names": {"nodes: [{name: a}]", []string{"--node-name=b"},
			`node.name: Invalid value: "b": must be empty if nodes is set`},
		"a name twice": {"nodes: [{name: a}, {name: a}]", nil, `nodes[1].name: Duplicate value: "a"`},
		"a bad name": {"nodes: [{name: A_1}]", nil,
			`nodes[0].name: Invalid value: "A_1": must be a valid name of a Node`},
		"no name":    {"nodes: [{zone: a}]", nil, `nodes[0].name: Invalid value: ""`},
		"a bad zone": {"nodes: [{name: a, zone: in the north}]", nil, `nodes[0].zone: Invalid value: "in the north"`},
		"the zone as a label": {"nodes: [{name: a, labels: {topology.kubernetes.io/zone: z}}]", nil,
			`nodes[0].labels[topology.kubernetes.io/zone]: Forbidden: is set by zone`},
		"the label of virtual nodes": {"node: {labels: {type: machine}}", []string{"--node-name=a"},
			`node.labels[type]: Forbidden: is a label that every virtual node has`},
		"the host name": {"nodes: [{name: a, labels: {kubernetes.io/hostname: z}}]", nil,
			`nodes[0].labels[kubernetes.io/hostname]: Forbidden`},
		"a bad key of a label": {"nodes: [{name: a, labels: {'a b': z}}]", nil,
			`nodes[0].labels[a b]: Invalid value: "a b"`},
		"a bad label": {"nodes: [{name: a, labels: {b: c d}}]", nil,
			`nodes[0].labels[b]: Invalid value: "c d": must have at most 63 letters`},
		"the taint of virtual nodes": {
			"nodes: [{name: a, taints: [{key: virtual-kubelet.io/provider, effect: NoExecute}]}]", nil,
			`nodes[0].taints[0].key: Forbidden: is the taint that every virtual node has`},
		"a taint of the cluster": {
			"nodes: [{name: a, taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute}]}]", nil,
			`nodes[0].taints[0].key: Invalid value: "node.kubernetes.io/unreachable": must not be a key`},
		"a taint without an effect": {"nodes: [{name: a, taints: [{key: b}]}]", nil,
			`nodes[0].taints[0].effect: Unsupported value: ""`},
		"a taint twice": {
			"nodes: [{name: a, taints: [{key: b, effect: NoSchedule}, {key: b, value: c, effect: NoSchedule}]}]", nil,
			`nodes[0].taints[1]: Duplicate value: "b:NoSchedule"`},
		"no capacity": {"nodes: [{name: a, cpu: 0, pods: -1}]", nil,
			`nodes[0].cpu: Invalid value: "0": must be above zero`},
		"a cloud namespace with two networks": {
			"nodes: [{name: a}, {name: b, subnetIDs: [c], cloudNamespace: bursting-prod}]", nil,
			`nodes[1].subnetIDs: Invalid value: "c": must be a,b as those of nodes[0]`},
		"a cloud namespace whose name is too long": {
			"nodes: [{name: " + strings.Repeat("a", 60) + ", subnetIDs: [c]}]", nil,
			`nodes[0].cloudNamespace: Invalid value: "bursting-prod-aaa`},
		"a port that another server has": {"nodes: [{name: a}, {name: b}, {name: c}]", []string{"--listen=:8080"},
			`healthListen: Invalid value: ":8082": must have another port than 8080 to 8082`},
		"no ports": {"nodes: [{name: a}, {name: b}]", []string{"--listen=:65535"},
			`listen: Invalid value: ":65535": must leave a port for each of the nodes: the last one would have 65536`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadFile(t, test.file, test.flags...)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, test.want)
		})
	}
}
