// Package machine runs clusters with real nodes on one machine: the control plane of a trial system and, for each node,
// a containerd, a kubelet and a network for its Pods. One kube-proxy and one CoreDNS serve all nodes. Pods are
// containers of the images in Config. So tests install a chart as a user does.
//
// Everything runs in namespaces of the calling process (Isolate). No process outlives it, the machine is not changed,
// and no port is reachable from outside. Therefore there is no registry. The package builds nothing. It needs Linux,
// root, and the distribution's runc, nftables and CNI plugins.
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

// Config describes a machine. All fields are required, except for Nameserver.
type Config struct {
	// Dir contains all files of the machine. Start removes the files of an earlier machine, including its logs.
	Dir string
	// BinDir contains the binaries of the control plane, and PartsDir those of nodes.
	BinDir, PartsDir string
	// Nodes is the number of real nodes, at most 250. They have the names of a trial system's local nodes.
	Nodes int
	// Nameserver is the address of a DNS server for names outside of the cluster: see ServeNames. It may be empty.
	Nameserver string
	// Images are loaded into every node.
	Images []Image
	// Progress receives a line for each step, with the time since Start.
	Progress io.Writer
}

// Machine is a running cluster.
type Machine struct {
	// System is its control plane. It includes neither KWOK nor programs of Spillway.
	*system.System
	config  Config
	nodes   []*node
	proxy   *process
	started time.Time
	// kubelets serializes the start of kubelets. Each takes the socket for device plugins from the previous one, and two
	// that do so at the same time fail.
	kubelets sync.Mutex
}

// Start starts a cluster and returns when Pods can be placed on all its nodes. It must be called within Isolate, and
// only once. If something fails, the error contains the end of the relevant log.
func Start(ctx context.Context, config Config) (*Machine, error) {
	if os.Getenv(isolated) == "" {
		return nil, errors.New("starting a machine: the caller must be within Isolate")
	}
	if err := checkParts(config.PartsDir); err != nil {
		return nil, fmt.Errorf("starting a machine: %w", err)
	}
	if err := os.RemoveAll(config.Dir); err != nil {
		return nil, fmt.Errorf("removing the files of an earlier machine: %w", err)
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
	if err := m.startDNS(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	for _, n := range m.nodes {
		group.Go(func() error { return m.bringUpNode(ctx, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return m.startProxy(ctx) // It ends when its node gets an address later.
}

func (m *Machine) bringUpNode(ctx context.Context, n *node) error {
	if err := n.startContainerd(ctx); err != nil {
		return err
	}
	if err := n.load(ctx, m.config.Images); err != nil {
		return err
	}
	m.report("%s: containerd is ready and has %d images", n.name, len(m.config.Images))
	m.kubelets.Lock()
	defer m.kubelets.Unlock()
	if err := n.startKubelet(ctx, m.System); err != nil {
		return err
	}
	if err := n.awaitReady(ctx, m.Client()); err != nil {
		return err
	}
	m.report("%s is Ready", n.name)
	return nil
}

// controlPlane returns the configuration of a trial system in which Pods can reach the API server, and with users for
// the nodes and the proxy. It does not verify the certificates of kubelets, as in clusters of kubeadm.
func (m *Machine) controlPlane() system.Config {
	users := map[string]string{proxyUser: "", dnsUser: "system:masters"}
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

// nodeUser returns the user name of the kubelet of the i-th node.
func nodeUser(i int) string { return "system:node:" + system.LocalNode(i) }

func (m *Machine) report(format string, values ...any) {
	fmt.Fprintf(m.config.Progress, "%6.1fs  %s\n", time.Since(m.started).Seconds(), fmt.Sprintf(format, values...))
}
