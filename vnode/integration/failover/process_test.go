package failover

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/host"
)

// asProcess is the first argument with which the binary of the test is a vnode process.
const asProcess = "vnode-process"

// runAsProcess runs virtual nodes until a signal, as package main does.
func runAsProcess() int {
	return run.Main(func(ctx context.Context, args []string) error {
		cfg := config.Default()
		if err := loader.Load("vnode", args, cfg); err != nil {
			return err
		}
		h, err := host.New(cfg, "unnamed", slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			return err
		}
		return h.Run(ctx)
	})
}

// process is a vnode process. It reaches the API server and the cloud through a network of its own.
type process struct {
	name, address, health string
	network               *network
	// flags are those that do not change when the process starts again.
	flags   []string
	command *exec.Cmd
	logs    *os.File
}

// writeConfig writes the configuration file that all processes share.
func writeConfig(t *testing.T, cfg *config.Config) string {
	t.Helper()
	content, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "vnode.yaml")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}

// newProcess describes the i-th process. It has an address of its own, as a Pod has, and the ports of all processes.
func newProcess(t *testing.T, i, port int, file string, cloud *cloudtest.Cloud) *process {
	t.Helper()
	address := fmt.Sprintf("127.0.0.%d", 10+i)
	p := &process{
		name: "vnode-" + strconv.Itoa(i), address: fmt.Sprintf("%s:%d", address, port),
		health: fmt.Sprintf("%s:%d", address, port+10), network: newNetwork(t),
	}
	cloudURL := "http://" + p.network.to(t, strings.TrimPrefix(cloud.URL, "http://"))
	p.flags = []string{
		"--config=" + file, "--kubeconfig=" + p.kubeconfig(t), "--cci-endpoint=" + cloudURL, "--iam-endpoint=" + cloudURL,
		"--node-ip=" + address, "--listen=" + p.address, "--health-listen=" + p.health,
	}
	return p
}

// kubeconfig writes a kubeconfig file that leads through the network of the process.
func (p *process) kubeconfig(t *testing.T) string {
	t.Helper()
	kubeconfig, err := clientcmd.LoadFromFile(trial.UserKubeconfig(account))
	require.NoError(t, err)
	for _, cluster := range kubeconfig.Clusters {
		cluster.Server = "https://" + p.network.to(t, strings.TrimPrefix(cluster.Server, "https://"))
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*kubeconfig, file))
	return file
}

// start starts the process. It is killed when the test ends.
func (p *process) start(t *testing.T) {
	t.Helper()
	p.command = exec.Command(os.Args[0], append([]string{asProcess, "--process-name=" + p.name}, p.flags...)...)
	logs, err := os.CreateTemp(t.TempDir(), p.name)
	require.NoError(t, err)
	p.logs, p.command.Stderr = logs, logs
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.command.Start())
	command := p.command
	t.Cleanup(func() {
		_ = command.Process.Kill() // It may have ended.
		_ = command.Wait()
		if t.Failed() {
			content, err := os.ReadFile(logs.Name())
			t.Logf("The log of %s:\n%s%v", p.name, tail(content), err)
		}
	})
}

// tail returns the end of a log.
func tail(content []byte) []byte { return content[max(0, len(content)-6000):] }

// signal sends a signal to the process.
func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(signal))
}

// restart starts the process again after it has ended, in whatever way.
func (p *process) restart(t *testing.T) {
	t.Helper()
	_ = p.command.Wait()
	p.start(t)
}

// state returns what the process says about its nodes.
func (p *process) state() (string, error) { return programtest.Get("http://" + p.health + "/readyz") }

// runs reports whether the process runs all of these nodes and is ready.
func (p *process) runs(nodes ...string) bool {
	state, err := p.state()
	return err == nil && !slices.ContainsFunc(nodes, func(node string) bool {
		return !strings.Contains(state, "node "+node+" runs here")
	})
}
