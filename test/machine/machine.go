// Package machine runs clusters with real nodes on one machine: the control plane of a trial system and, for each node, a containerd, a kubelet
// and a network for its Pods, with one kube-proxy and one name server for all. Pods there are containers, of images that Config names: what a chart
// installs is tried as anybody would have it.
//
// All of it runs in namespaces of the calling process (Isolate), so that nothing outlives that, whatever it dies of, nothing of the machine is changed and
// nothing listens where others could reach it. The price is that there is no registry to pull from. The package builds nothing; it runs on Linux,
// as root, with runc, nftables and CNI's plugins of the distribution.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spillway-k8s/spillway/test/system"
)

// Config says what a machine is made of. It needs all fields.
type Config struct {
	// Dir holds all that belongs to the machine. What a machine before has left there is removed, and its logs.
	Dir string
	// BinDir holds the binaries of the control plane, and PartsDir those of nodes.
	BinDir, PartsDir string
	// Nodes is the number of real nodes, at most 250. They have the names of a trial system's local nodes.
	Nodes int
	// Images are loaded into every node.
	Images []Image
	// Progress gets a line for each step with the time since Start.
	Progress io.Writer
}

// Machine is a cluster that runs.
type Machine struct {
	// System is its control plane. It has neither KWOK nor any program of Spillway's.
	*system.System
	config  Config
	nodes   []*node
	proxy   *process
	started time.Time
	// kubelets start one at a time: each takes the socket for plugins of devices from the one before, and two that do it at once fail.
	kubelets sync.Mutex
}

// Start brings up a cluster and returns when Pods can be placed on all its nodes. It must be called inside Isolate, and once. When something fails, the error
// carries the end of the log that matters.
func Start(ctx context.Context, config Config) (*Machine, error) {
	if os.Getenv(isolated) == "" {
		return nil, errors.New("starting a machine: the caller is not isolated: call it inside Isolate")
	}
	if err := checkParts(config.PartsDir); err != nil {
		return nil, fmt.Errorf("starting a machine: %w", err)
	}
	if err := os.RemoveAll(config.Dir); err != nil {
		return nil, fmt.Errorf("removing what a machine before has left: %w", err)
	}
	m := &Machine{config: config, started: time.Now()}
	for i := range config.Nodes {
		name := system.LocalNode(i)
		m.nodes = append(m.nodes, &node{name: name, index: i, dir: filepath.Join(config.Dir, name), binDir: config.PartsDir})
	}
	if err := m.bringUp(ctx); err != nil {
		return nil, fmt.Errorf("starting a machine in %s: %w", config.Dir, err)
	}
	return m, nil
}

func (m *Machine) bringUp(ctx context.Context) error {
	var err error
	if m.System, err = system.Start(ctx, m.controlPlane()); err != nil {
		return err
	}
	if err := m.startProxy(ctx); err != nil {
		return err
	}
	if err := serveNames(m.Client()); err != nil {
		return err
	}
	var group errgroup.Group
	for _, n := range m.nodes {
		group.Go(func() error { return m.bringUpNode(ctx, n) })
	}
	return group.Wait()
}

func (m *Machine) bringUpNode(ctx context.Context, n *node) error {
	if err := n.startContainerd(ctx); err != nil {
		return err
	}
	if err := n.load(ctx, m.config.Images); err != nil {
		return err
	}
	m.say("%s: containerd is ready and has %d images", n.name, len(m.config.Images))
	m.kubelets.Lock()
	defer m.kubelets.Unlock()
	if err := n.startKubelet(ctx, m.System); err != nil {
		return err
	}
	if err := n.awaitReady(ctx, m.Client()); err != nil {
		return err
	}
	m.say("%s is Ready", n.name)
	return nil
}

// controlPlane is that of a trial system, but that Pods reach the API server, and that it knows the nodes and the proxy. It takes the kubelets' certificates as
// they are, which is how kubeadm sets it up.
func (m *Machine) controlPlane() system.Config {
	users := map[string]string{proxyUser: ""}
	for _, n := range m.nodes {
		users[nodeUser(n.index)] = "system:nodes"
	}
	authority, _ := system.CertificateFiles(m.config.Dir, "ca")
	return system.Config{
		Dir: m.config.Dir, BinDir: m.config.BinDir, Shape: system.Shape{LocalCPU: "4", LocalMemory: "8Gi"},
		Without: []string{system.KWOK}, Installed: true, Users: users, DieWithParent: true, Progress: m.config.Progress,
		Args: map[string][]string{system.APIServer: {
			"--bind-address=0.0.0.0", "--advertise-address=" + ControlAddress, "--endpoint-reconciler-type=lease",
			"--client-ca-file=" + authority, "--kubelet-certificate-authority=",
			"--requestheader-client-ca-file=" + authority, "--requestheader-allowed-names=front-proxy-client",
		}},
	}
}

// nodeUser is who the kubelet of the i-th node is.
func nodeUser(i int) string { return "system:node:" + system.LocalNode(i) }

func (m *Machine) say(format string, values ...any) {
	fmt.Fprintf(m.config.Progress, "%6.1fs  %s\n", time.Since(m.started).Seconds(), fmt.Sprintf(format, values...))
}
