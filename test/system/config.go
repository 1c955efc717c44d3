package system

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// Names of the processes of a system. VNode returns those of the virtual nodes.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	KWOK              = "kwok"
	CCISim            = "ccisim"
	Extender          = "extender"
	Admission         = "admission"
	// Forwarder takes the place of the Kubernetes Service in front of the extenders, with TopologyService only.
	Forwarder = "forwarder"
	vnode     = "vnode"
	// uninstall is not a process. Tests of "vnode uninstall" use its roles.
	uninstall = "uninstall"
)

// Topology is how the scheduler reaches the extender.
type Topology string

const (
	// TopologySidecar, the default: one extender, over plain HTTP on loopback.
	TopologySidecar Topology = ""
	// TopologyService: extenders that elect a leader (the processes ExtenderReplica), called over mutual TLS through the
	// Forwarder. There is no process Extender. Endpoint(Extender) is the address that the scheduler calls.
	TopologyService Topology = "service"
)

// extenderReplicas is the number of extenders behind the Forwarder.
const extenderReplicas = 2

// ExtenderReplica returns the name of the process of the i-th extender behind the Forwarder, 0 or 1.
func ExtenderReplica(i int) string { return fmt.Sprintf("%s-%d", Extender, i) }

// MaxVirtualNodes is the most virtual nodes of a system: so many pairs of ports fit into its block of ports.
const MaxVirtualNodes = 20

// VNode returns the name of the process of the i-th virtual node, counted from 0.
func VNode(i int) string { return fmt.Sprintf("%s-%d", vnode, i) }

// LocalNode returns the name of the i-th local node, counted from 0.
func LocalNode(i int) string { return fmt.Sprintf("local-%d", i) }

// VirtualNode returns the name of the i-th virtual node, counted from 0.
func VirtualNode(i int) string { return fmt.Sprintf("%s%d", VirtualNodePrefix, i) }

// VirtualNodePrefix is the prefix of the names of the virtual nodes. No other node has it.
const VirtualNodePrefix = "virtual-node-cci-"

// Shape describes the nodes of a cluster. It is set when a system is first started and cannot change until its state is
// removed.
type Shape struct {
	// LocalNodes is the number of local nodes. It may be 0.
	LocalNodes int `json:"localNodes"`
	// LocalCPU is the capacity of each local node, a quantity such as "4".
	LocalCPU string `json:"localCPU"`
	// LocalMemory is the capacity of each local node, a quantity such as "8Gi".
	LocalMemory string `json:"localMemory"`
	// VirtualNodes is the number of vnode processes, at most 20. It may be 0.
	VirtualNodes int `json:"virtualNodes"`
	// Topology is how the scheduler reaches the extender.
	Topology Topology `json:"topology,omitempty"`
}

// DefaultShape returns three local nodes of 4 CPU and 8Gi, and one virtual node.
func DefaultShape() Shape {
	return Shape{LocalNodes: 3, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1}
}

// String describes the shape in a phrase.
func (s Shape) String() string {
	text := fmt.Sprintf("%d local nodes (%s CPU, %s) and %d virtual",
		s.LocalNodes, s.LocalCPU, s.LocalMemory, s.VirtualNodes)
	if s.Topology == TopologyService {
		text += ", the extender as a service"
	}
	return text
}

// Validate reports all errors of the shape at once.
func (s Shape) Validate() error {
	var errs []error
	if s.LocalNodes < 0 {
		errs = append(errs, fmt.Errorf("local nodes: %d: must not be below 0", s.LocalNodes))
	}
	if s.VirtualNodes < 0 || s.VirtualNodes > MaxVirtualNodes {
		errs = append(errs, fmt.Errorf("virtual nodes: %d: must be between 0 and %d", s.VirtualNodes, MaxVirtualNodes))
	}
	if _, err := resource.ParseQuantity(s.LocalCPU); err != nil {
		errs = append(errs, fmt.Errorf("local CPU: %q: must be a quantity such as 4 or 500m", s.LocalCPU))
	}
	if _, err := resource.ParseQuantity(s.LocalMemory); err != nil {
		errs = append(errs, fmt.Errorf("local memory: %q: must be a quantity such as 8Gi", s.LocalMemory))
	}
	if s.Topology != TopologySidecar && s.Topology != TopologyService {
		errs = append(errs, fmt.Errorf("topology: %q: must be sidecar (empty) or service", s.Topology))
	}
	return errors.Join(errs...)
}

// Config sets the directory of a system, and what differs from a complete system.
type Config struct {
	// Dir contains all files of the system. It is created if it does not exist. Running systems must not share one.
	Dir string
	// BinDir contains the binaries that `make build` builds. FindBinDir finds it.
	BinDir string
	// Shape describes the nodes of the cluster. It must be the shape with which Dir was first started.
	Shape Shape
	// Without names processes that Start does not start. Restart can start them later. Without the Extender, the
	// scheduler's configuration has no extender. Without Admission, no webhook is registered. "vnode" means all virtual
	// nodes.
	Without []string
	// Users are additional users of the API server, and their groups. UserKubeconfig returns the path of their kubeconfig.
	// They must be the users with which Dir was first started.
	Users map[string]string
	// Installed leaves the installation of Spillway to the caller. The system starts none of its programs and does not
	// create their namespace, accounts and roles. It does not start the simulated cloud either.
	Installed bool
	// BareNodes creates local nodes without heartbeats, which KWOK does not manage. Thousands of them cost nothing. Pods
	// bound to them never run. The node lifecycle controller is off, because it would taint them all.
	BareNodes bool
	// CallForEveryPod makes the scheduler call the extender for every Pod, not only for those with the marker resource.
	CallForEveryPod bool
	// Scheduler edits the scheduler's configuration before it is written, if it is not nil.
	Scheduler func(*schedulerv1.KubeSchedulerConfiguration)
	// Routes are URLs of the API server for processes that must not connect to it directly, by process name. They are
	// those of a proxy of the caller, which serves with the certificate of CertificateFiles. "vnode" means all virtual
	// nodes.
	Routes map[string]string
	// Binaries replace files in BinDir, by process name. "vnode" means all virtual nodes.
	Binaries map[string]string
	// Args adds flags to processes, by process name. "vnode" means all virtual nodes, "extender" all extenders. If a flag
	// is repeated, the last one counts.
	Args map[string][]string
	// DieWithParent ends the processes when the calling process ends. Tests set it, so that a killed test leaves no
	// processes. Otherwise the processes run until Stop.
	DieWithParent bool
	// Progress receives a line for each step, with the time since Start. It may be nil.
	Progress io.Writer
}

// check completes the configuration and reports all errors at once.
func (c Config) check() (Config, error) {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("the directory of the system is not set"))
	}
	if c.BinDir == "" {
		errs = append(errs, errors.New("the directory of the binaries is not set"))
	}
	errs = append(errs, c.Shape.Validate())
	known := []string{ControllerManager, Scheduler, KWOK, CCISim, Extender, Admission, vnode}
	for _, name := range c.Without {
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("without: %q: must be one of %v", name, known))
		}
	}
	known = append(known, c.processes()...)
	known = append(known, Etcd, APIServer)
	for field, names := range map[string]iter.Seq[string]{
		"args": maps.Keys(c.Args), "routes": maps.Keys(c.Routes), "binaries": maps.Keys(c.Binaries),
	} {
		for name := range names {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("%s: %q: must be one of %v", field, name, known))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	var errDir, errBin error
	c.Dir, errDir = filepath.Abs(c.Dir)
	c.BinDir, errBin = filepath.Abs(c.BinDir)
	return c, errors.Join(errDir, errBin)
}

// has reports whether Start starts the process.
func (c Config) has(name string) bool {
	ofSpillway := slices.Contains([]string{CCISim, Extender, Admission, vnode}, name)
	return !slices.Contains(c.Without, name) && !(c.Installed && ofSpillway)
}

// wanted returns the processes that Start starts in addition to etcd and the API server.
func (c Config) wanted() []string {
	return slices.DeleteFunc(c.processes(), func(name string) bool {
		return !c.has(family(name)) || name == Forwarder && !c.has(Extender)
	})
}

// processes returns all processes that a system of this shape can have, except etcd and the API server.
func (c Config) processes() []string {
	extenders := []string{Extender}
	if c.Shape.Topology == TopologyService {
		extenders = nil
		for i := range extenderReplicas {
			extenders = append(extenders, ExtenderReplica(i))
		}
		extenders = append(extenders, Forwarder)
	}
	names := slices.Concat([]string{ControllerManager, Scheduler, KWOK, CCISim}, extenders, []string{Admission})
	for i := range c.Shape.VirtualNodes {
		names = append(names, VNode(i))
	}
	return names
}

// FindBinDir searches the working directory and its parents for the directory that `make build` builds into.
func FindBinDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the directory of the project: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		bin := filepath.Join(dir, ".run", "bin")
		if _, err := os.Stat(filepath.Join(bin, APIServer)); err == nil {
			return bin, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no parent of the working directory has .run/bin with a control plane: run `make build`")
		}
	}
}
