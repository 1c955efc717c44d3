package system

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/spillway-k8s/spillway/policy"
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
	// OtherScheduler is another kube-scheduler, with TopologyOwnScheduler or Config.OtherScheduler only. It calls no
	// extender.
	OtherScheduler = "kube-scheduler-other"
	// Forwarder takes the place of the Kubernetes Service in front of the extenders, with TopologyService only.
	Forwarder = "forwarder"
	// AdmissionForwarder takes the place of the Kubernetes Service in front of the webhooks, with HA only.
	AdmissionForwarder = "forwarder-admission"
	vnode              = "vnode"
	// uninstall is not a process. Tests of "vnode uninstall" use its roles.
	uninstall = "uninstall"
)

// Topology is how the scheduler reaches the extender.
type Topology string

const (
	// TopologySidecar, the default: one extender, over plain HTTP on loopback. There is one scheduler for all Pods.
	TopologySidecar Topology = ""
	// TopologyOwnScheduler: one extender next to a scheduler of its own, as the chart installs it. The process
	// Scheduler calls the extender for every Pod that names OwnScheduler, and OtherScheduler is that of the cluster.
	TopologyOwnScheduler Topology = "own-scheduler"
	// TopologyService: extenders that elect a leader, called over mutual TLS through the Forwarder. The processes are
	// ExtenderReplica; with HA, Extender and Second(Extender). The scheduler has a profile for managed Pods,
	// OwnScheduler.
	TopologyService Topology = "service"
)

// OwnScheduler is the name of the scheduler or of the profile that managed Pods are assigned to. With TopologySidecar,
// they keep the default scheduler.
const OwnScheduler = "spillway-scheduler"

// replicas is the number of processes of a program of which there are several, except vnode.
const replicas = 2

// ExtenderReplica returns the name of the process of the i-th extender behind the Forwarder, 0 or 1. With HA the first
// is Extender.
func ExtenderReplica(i int) string { return fmt.Sprintf("%s-%d", Extender, i) }

// Second returns the name of the second process of a program: Extender, Admission or Scheduler. It runs with HA.
func Second(program string) string { return program + "-1" }

// MaxVirtualNodes is the most virtual nodes of a system: so many pairs of ports fit into its block of ports.
const MaxVirtualNodes = 20

// maxVirtualNodesHA is the most with HA, where each process has a port for each virtual node.
const maxVirtualNodesHA = 5

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
	// VirtualNodes is the number of virtual nodes, at most 20. It may be 0.
	VirtualNodes int `json:"virtualNodes"`
	// VirtualZones are the zones of the virtual nodes, separated by commas, one for each virtual node. The local nodes
	// are spread over the same zones. If it is empty, no node has a zone.
	VirtualZones string `json:"virtualZones,omitempty"`
	// Topology is how the scheduler reaches the extender. With HA it is TopologyService.
	Topology Topology `json:"topology,omitempty"`
	// HA runs two of each program and two schedulers, and at least two vnode processes.
	HA bool `json:"ha,omitempty"`
	// Kubernetes is the version of the control plane, one of KubernetesVersions. If it is empty, it is the newest.
	Kubernetes string `json:"kubernetes,omitempty"`
}

// DefaultShape returns three local nodes of 4 CPU and 8Gi, and one virtual node.
func DefaultShape() Shape {
	return Shape{LocalNodes: 3, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1}
}

// complete returns the shape with the version of Kubernetes that it stands for.
func (s Shape) complete() Shape {
	s.Kubernetes = cmp.Or(s.Kubernetes, newestKubernetes)
	return s
}

// String describes the shape in a phrase.
func (s Shape) String() string {
	text := fmt.Sprintf("%d local nodes (%s CPU, %s) and %d virtual",
		s.LocalNodes, s.LocalCPU, s.LocalMemory, s.VirtualNodes)
	if s.VirtualZones != "" {
		text += " in the zones " + s.VirtualZones
	}
	switch s.Topology {
	case TopologyService:
		text += ", the extender as a service"
	case TopologyOwnScheduler:
		text += ", the extender next to a scheduler of its own"
	case TopologySidecar:
	}
	if s.HA {
		text += ", two of each program"
	}
	return text + ", Kubernetes " + s.complete().Kubernetes
}

// zone returns the zone of the i-th local or virtual node. Without zones it is empty.
func (s Shape) zone(i int) string {
	zones := strings.Split(s.VirtualZones, ",")
	return zones[i%len(zones)]
}

// vnodes returns the number of vnode processes.
func (s Shape) vnodes() int {
	if s.HA && s.VirtualNodes > 0 {
		return max(s.VirtualNodes, replicas)
	}
	return s.VirtualNodes
}

// Validate reports all errors of the shape at once.
func (s Shape) Validate() error {
	var errs []error
	if s.LocalNodes < 0 {
		errs = append(errs, fmt.Errorf("local nodes: %d: must not be below 0", s.LocalNodes))
	}
	most := MaxVirtualNodes
	if s.HA {
		most = maxVirtualNodesHA
	}
	if s.VirtualNodes < 0 || s.VirtualNodes > most {
		errs = append(errs, fmt.Errorf("virtual nodes: %d: must be between 0 and %d", s.VirtualNodes, most))
	}
	if _, err := resource.ParseQuantity(s.LocalCPU); err != nil {
		errs = append(errs, fmt.Errorf("local CPU: %q: must be a quantity such as 4 or 500m", s.LocalCPU))
	}
	if _, err := resource.ParseQuantity(s.LocalMemory); err != nil {
		errs = append(errs, fmt.Errorf("local memory: %q: must be a quantity such as 8Gi", s.LocalMemory))
	}
	topologies := []Topology{TopologySidecar, TopologyOwnScheduler, TopologyService}
	if !slices.Contains(topologies, s.Topology) {
		errs = append(errs, fmt.Errorf("topology: %q: must be sidecar (empty), own-scheduler or service", s.Topology))
	}
	if s.HA && s.Topology != TopologyService {
		errs = append(errs, errors.New("topology: sidecar: must be service with HA, because an extender finds the "+
			"scheduler beside it by the name of their host, and all processes of a trial system have one host"))
	}
	if !slices.Contains(KubernetesVersions, s.complete().Kubernetes) {
		errs = append(errs, fmt.Errorf("version of Kubernetes: %q: must be one of %s", s.Kubernetes,
			strings.Join(KubernetesVersions, ", ")))
	}
	return errors.Join(append(errs, s.validateZones()...)...)
}

func (s Shape) validateZones() (errs []error) {
	if s.VirtualZones == "" {
		return nil
	}
	zones := strings.Split(s.VirtualZones, ",")
	for i, zone := range zones {
		if zone == "" || len(validation.IsValidLabelValue(zone)) > 0 || slices.Contains(zones[:i], zone) {
			errs = append(errs, fmt.Errorf("virtual zones: %q: must be different names that a label can have, such as "+
				"a,b", s.VirtualZones))
			break
		}
	}
	if len(zones) != s.VirtualNodes {
		errs = append(errs, fmt.Errorf("virtual nodes: %d: must be %d, one for each of the virtual zones %s, or left "+
			"out", s.VirtualNodes, len(zones), s.VirtualZones))
	}
	return errs
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
	// Users are additional users of the API server, and their groups. UserKubeconfig returns the path of their
	// kubeconfig. They must be the users with which Dir was first started.
	Users map[string]string
	// Installed leaves the installation of Spillway to the caller. The system starts none of its programs and does not
	// create their namespace, accounts and roles. It does not start the simulated cloud either.
	Installed bool
	// BareNodes creates local nodes without heartbeats, which KWOK does not manage. Thousands of them cost nothing.
	// Pods bound to them never run. The node lifecycle controller is off, because it would taint them all.
	BareNodes bool
	// DisabledRules are the restrictions that the extender and admission ignore.
	DisabledRules []policy.Reason
	// IgnoredNodeSelectors are the labels that virtual nodes need not have (policy.Config).
	IgnoredNodeSelectors []string
	// WayHome is the section wayHome of the extender's configuration. It may be nil.
	WayHome map[string]any
	// Services lets Pods choose each mode of Services: the virtual nodes have the DNS of the cluster and images of the
	// sidecars. At most three vnode processes can have it.
	Services bool
	// CallForEveryPod makes the scheduler call the extender for every Pod, not only for those with the marker resource.
	CallForEveryPod bool
	// Scheduler edits the scheduler's configuration before it is written, if it is not nil.
	Scheduler func(*schedulerv1.KubeSchedulerConfiguration)
	// OtherScheduler starts the process OtherScheduler and edits its configuration, if it is not nil.
	OtherScheduler func(*schedulerv1.KubeSchedulerConfiguration)
	// Routes are URLs of the API server for processes that must not connect to it directly, by process name. They are
	// those of a proxy of the caller, which serves with the certificate of CertificateFiles. "vnode" means all virtual
	// nodes.
	Routes map[string]string
	// Binaries replace files in BinDir, by process name. "vnode" means all virtual nodes.
	Binaries map[string]string
	// Args adds flags to processes, by process name. "vnode" means all virtual nodes, and the name of another program
	// of which there are several means all of them. If a flag is repeated, the last one counts.
	Args map[string][]string
	// Environment adds variables, as NAME=value, to the environment of all processes.
	Environment []string
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
	c.Shape = c.Shape.complete()
	if most := blockSize - firstServicesPort; c.Services && c.Shape.vnodes() > most {
		errs = append(errs, fmt.Errorf("services: at most %d vnode processes can have them", most))
	}
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
		switch name {
		case Forwarder:
			return !c.has(Extender)
		case AdmissionForwarder:
			return !c.has(Admission)
		}
		return !c.has(family(name))
	})
}

// processes returns all processes that a system of this shape can have, except etcd and the API server.
func (c Config) processes() []string {
	schedulers, admissions := []string{Scheduler}, []string{Admission}
	if c.Shape.HA {
		schedulers = append(schedulers, Second(Scheduler))
		admissions = append(admissions, Second(Admission), AdmissionForwarder)
	}
	extenders := c.Shape.extenders()
	if c.Shape.Topology == TopologyService {
		extenders = append(extenders, Forwarder)
	}
	if c.hasOtherScheduler() {
		schedulers = append(schedulers, OtherScheduler)
	}
	names := slices.Concat([]string{ControllerManager}, schedulers, []string{KWOK, CCISim}, extenders, admissions)
	for i := range c.Shape.vnodes() {
		names = append(names, VNode(i))
	}
	return names
}

// extenders returns the names of the processes of the extender.
func (s Shape) extenders() []string {
	switch {
	case s.HA:
		return []string{Extender, Second(Extender)}
	case s.Topology == TopologyService:
		return []string{ExtenderReplica(0), ExtenderReplica(1)}
	}
	return []string{Extender}
}

func (c Config) hasOtherScheduler() bool {
	return c.OtherScheduler != nil || c.Shape.Topology == TopologyOwnScheduler
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
			return "", errors.New("no parent of the working directory has .run/bin with a control plane: " +
				"run `make build`")
		}
	}
}
