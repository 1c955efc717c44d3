package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInvalidCommandsAreRefused(t *testing.T) {
	empty := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no command":         {args: nil, want: "[]: must be one command"},
		"an unknown command": {args: []string{"sideways"}, want: `["sideways"]: must be one command`},
		"two commands":       {args: []string{"up", "down"}, want: `["up" "down"]: must be one command`},
		"an unknown flag":    {args: []string{"up", "--nodes=3"}, want: "unknown flag: --nodes"},
		"a malformed number": {
			args: []string{"up", "--local-nodes=three"}, want: `invalid argument "three" for "--local-nodes"`,
		},
		"an invalid shape": {
			args: []string{"up", "--dir", empty, "--local-memory=lots"},
			want: `local memory: "lots": must be a quantity`,
		},
		"an unknown version of Kubernetes": {
			args: []string{"up", "--dir", empty, "--kubernetes=1.12"},
			want: `version of Kubernetes: "1.12": must be one of`,
		},
		"a number of virtual nodes that is not that of the zones": {
			args: []string{"up", "--dir", empty, "--virtual-zones=a,b", "--virtual-nodes=3"},
			want: "virtual nodes: 3: must be 2, one for each of the virtual zones a,b",
		},
		"two schedulers with an extender beside each": {
			args: []string{"up", "--dir", empty, "--ha=1", "--topology=sidecar"},
			want: "topology: sidecar: must be service with HA",
		},
		"the binaries of another version": {
			args: []string{"up", "--dir", t.TempDir(), "--kubernetes=1.34"}, want: "run `K8S=1.34 make build`",
		},
		"missing binaries": {
			args: []string{"up", "--dir", empty},
			want: "kube-controller-manager, kube-scheduler, kwok, ccisim, extender, admission, vnode, etcd, " +
				"kube-apiserver are not in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, run(t.Context(), test.args, &bytes.Buffer{}), test.want)
		})
	}
}

func TestUpKeepsTheRecordedShape(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	recorded := `{"shape": {"localNodes": 7, "localCPU": "2", "localMemory": "1Gi", "virtualNodes": 2}, ` +
		`"firstPort": 20000}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "state.json"), []byte(recorded), 0o600))

	err := run(t.Context(), []string{"up", "--dir", dir}, &bytes.Buffer{})
	assert.ErrorContains(t, err, "are not in", "no flag sets another shape")
	err = run(t.Context(), []string{"up", "--dir", dir, "--local-nodes=3"}, &bytes.Buffer{})
	assert.ErrorContains(t, err, "has 7 local nodes (2 CPU, 1Gi) and 2 virtual, Kubernetes 1.37, "+
		"not 3 local nodes (2 CPU, 1Gi) and 2 virtual, Kubernetes 1.37")
	for flag, want := range map[string]string{
		"--ha=1":              "and 2 virtual, the extender as a service, two of each program, Kubernetes 1.37",
		"--kubernetes=1.35":   "and 2 virtual, Kubernetes 1.35",
		"--virtual-zones=x,y": "and 2 virtual in the zones x,y, Kubernetes 1.37",
	} {
		err = run(t.Context(), []string{"up", "--dir", dir, flag}, &bytes.Buffer{})
		assert.ErrorContains(t, err, "not 7 local nodes (2 CPU, 1Gi) "+want)
	}
	err = run(t.Context(), []string{"up", "--dir", dir, "--ha=0", "--kubernetes=1.37"}, &bytes.Buffer{})
	assert.ErrorContains(t, err, "are not in", "the same shape in other words")
}

func TestDownWithoutASystemSucceeds(t *testing.T) {
	out := &bytes.Buffer{}
	require.NoError(t, run(t.Context(), []string{"down", "--dir", filepath.Join(t.TempDir(), "never")}, out))
	assert.Contains(t, out.String(), "The trial system is down.")
}
