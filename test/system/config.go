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

// Names of the processes of a system; those of the virtual nodes are made by VNode.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	KWOK              = "kwok"
	CCISim            = "ccisim"
	Extender          = "extender"
	Admission         = "admission"
	// Forwarder plays the Kubernetes Service in front of the extenders, with TopologyService only.
	Forwarder = "forwarder"
	vnode     = "vnode"
	// uninstall is no process: its rights are for tests of "vnode uninstall".
	uninstall = "uninstall"
)

// Topology is how the scheduler reaches the extender.
type Topology string

const (
	// TopologySidecar, the default: one extender, over plain HTTP on loopback.
	TopologySidecar Topology = ""
	// TopologyService: extenders that elect a leader (the processes ExtenderReplica), over mutual TLS, behind the Forwarder. There is no
	// process Extender; Endpoint(Extender) is where the scheduler asks.
	TopologyService Topology = "service"
)

// extenderReplicas is how many extenders there are behind the Forwarder.
const extenderReplicas = 2

// ExtenderReplica is the name of the process of the i-th extender behind the Forwarder, 0 or 1.
func ExtenderReplica(i int) string { return fmt.Sprintf("%s-%d", Extender, i) }

// maxVirtualNodes is how many pairs of ports fit into a system's block of ports.
const maxVirtualNodes = 20

// VNode is the name of the process of the i-th virtual node, counted from 0.
func VNode(i int) string { return fmt.Sprintf("%s-%d", vnode, i) }

// LocalNode is the name of the i-th local node, counted from 0.
func LocalNode(i int) string { return fmt.Sprintf("local-%d", i) }

// VirtualNode is the name of the i-th virtual node, counted from 0.
func VirtualNode(i int) string { return fmt.Sprintf("%s%d", VirtualNodePrefix, i) }

// VirtualNodePrefix begins the names of the virtual nodes, and of no others.
const VirtualNodePrefix = "virtual-node-cci-"

// Shape is what a cluster is made of. It is chosen when a system is first started and stays for as long as its state does.
type Shape struct {
	// LocalNodes is the number of local nodes; 0 makes a cluster that has none.
	LocalNodes int `json:"localNodes"`
	// LocalCPU is the capacity of each local node, a quantity such as "4".
	LocalCPU string `json:"localCPU"`
	// LocalMemory is the capacity of each local node, a quantity such as "8Gi".
	LocalMemory string `json:"localMemory"`
	// VirtualNodes is the number of vnode processes, 20 at most; 0 starts none.
	VirtualNodes int `json:"virtualNodes"`
	// Topology is how the scheduler reaches the extender.
	Topology Topology `json:"topology,omitempty"`
}

// DefaultShape is three local nodes of 4 CPU and 8Gi and one virtual node.
func DefaultShape() Shape {
	return Shape{LocalNodes: 3, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1}
}

// String says the shape in words.
func (s Shape) String() string {
	text := fmt.Sprintf("%d local nodes (%s CPU, %s) and %d virtual", s.LocalNodes, s.LocalCPU, s.LocalMemory, s.VirtualNodes)
	if s.Topology == TopologyService {
		text += ", the extender as a service"
	}
	return text
}

// Validate reports every fault of the shape at once.
func (s Shape) Validate() error {
	var faults []error
	if s.LocalNodes < 0 {
		faults = append(faults, fmt.Errorf("local nodes: %d is below 0", s.LocalNodes))
	}
	if s.VirtualNodes < 0 || s.VirtualNodes > maxVirtualNodes {
		faults = append(faults, fmt.Errorf("virtual nodes: %d is not between 0 and %d", s.VirtualNodes, maxVirtualNodes))
	}
	if _, err := resource.ParseQuantity(s.LocalCPU); err != nil {
		faults = append(faults, fmt.Errorf("local CPU: %q is not a quantity such as 4 or 500m", s.LocalCPU))
	}
	if _, err := resource.ParseQuantity(s.LocalMemory); err != nil {
		faults = append(faults, fmt.Errorf("local memory: %q is not a quantity such as 8Gi", s.LocalMemory))
	}
	if s.Topology != TopologySidecar && s.Topology != TopologyService {
		faults = append(faults, fmt.Errorf("topology: %q is neither sidecar (empty) nor service", s.Topology))
	}
	return errors.Join(faults...)
}

// Config says where a system lives and how it differs from the whole one.
type Config struct {
	// Dir holds all that belongs to the system; it is made if it is missing. Two running systems never share one.
	Dir string
	// BinDir holds the binaries that `make build` makes. FindBinDir finds it.
	BinDir string
	// Shape is what the cluster is made of. It must be the one that Dir was first started with.
	Shape Shape
	// Without names processes that Start leaves out. Restart starts them later. Without Extender the scheduler's
	// configuration names no extender, without Admission no webhook is registered; "vnode" stands for all virtual nodes.
	Without []string
	// Users are more users of the API server, beside the parts of the control plane, and their groups; UserKubeconfig finds what they need. They must
	// be those that Dir was first started with.
	Users map[string]string
	// Installed leaves Spillway to the caller, who installs it as anybody would: none of its programs is started, and there is nothing of
	// their namespace, accounts and rights. The simulated cloud is left out too.
	Installed bool
	// BareNodes makes local nodes that nobody heartbeats and KWOK does not manage: thousands of them cost nothing, and
	// Pods bound to them never run. The node lifecycle controller is off, or it would taint them all.
	BareNodes bool
	// AskForEveryPod has the scheduler ask the extender about every Pod, not only about those that the webhook marked.
	AskForEveryPod bool
	// Scheduler changes the scheduler's configuration before it is written; nil leaves it as it is.
	Scheduler func(*schedulerv1.KubeSchedulerConfiguration)
	// Routes are URLs of the API server for processes that shall not reach it directly, by process name: a proxy of the caller's, that
	// serves with the certificate of CertificateFiles. "vnode" stands for all virtual nodes.
	Routes map[string]string
	// Binaries are files to run in place of those in BinDir, by process name; "vnode" stands for all virtual nodes.
	Binaries map[string]string
	// Args adds flags to processes, by process name; "vnode" stands for all virtual nodes, "extender" for all extenders. A later flag wins over an earlier one.
	Args map[string][]string
	// DieWithParent ties the processes to the life of the calling one: tests set it, so that a test that is killed
	// leaves nothing behind. Otherwise they outlive it, until Stop.
	DieWithParent bool
	// Progress gets a line for each step with the time since Start; nil discards them.
	Progress io.Writer
}

// check completes the configuration and reports every fault at once.
func (c Config) check() (Config, error) {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("the directory of the system is not set"))
	}
	if c.BinDir == "" {
		faults = append(faults, errors.New("the directory of the binaries is not set"))
	}
	faults = append(faults, c.Shape.Validate())
	known := []string{ControllerManager, Scheduler, KWOK, CCISim, Extender, Admission, vnode}
	for _, name := range c.Without {
		if !slices.Contains(known, name) {
			faults = append(faults, fmt.Errorf("without: %q is none of %v", name, known))
		}
	}
	known = append(known, c.processes()...)
	known = append(known, Etcd, APIServer)
	for field, names := range map[string]iter.Seq[string]{"args": maps.Keys(c.Args), "routes": maps.Keys(c.Routes), "binaries": maps.Keys(c.Binaries)} {
		for name := range names {
			if !slices.Contains(known, name) {
				faults = append(faults, fmt.Errorf("%s: %q is none of %v", field, name, known))
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
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

// has says whether Start starts the process.
func (c Config) has(name string) bool {
	return !slices.Contains(c.Without, name) && !(c.Installed && slices.Contains([]string{CCISim, Extender, Admission, vnode}, name))
}

// wanted returns the processes that Start starts beside etcd and the API server.
func (c Config) wanted() []string {
	return slices.DeleteFunc(c.processes(), func(name string) bool {
		return !c.has(family(name)) || name == Forwarder && !c.has(Extender)
	})
}

// processes returns all that a system of this shape can have beside etcd and the API server.
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

// FindBinDir returns the directory that make builds into, found from the working directory upwards.
func FindBinDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the project's directory: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		bin := filepath.Join(dir, ".run", "bin")
		if _, err := os.Stat(filepath.Join(bin, APIServer)); err == nil {
			return bin, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no directory .run/bin with a control plane above the working directory: `make build` makes it")
		}
	}
}
