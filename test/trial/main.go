// Command trial runs a trial system in the background: a real Kubernetes cluster that bursts into a simulated cloud.
// `make up`, `make down` and `make demo` call it. The binaries must have been built.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/spillway-k8s/spillway/test/system"
)

const usage = `usage: trial up|down|demo [flags]

  up     start the trial system, or those of its processes that have ended, and leave it running
  down   stop it and remove its state; its logs remain
  demo   play the stories of Spillway on a separate system, and stop it

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "trial: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var dir, binDir string
	var without []string
	flags := pflag.NewFlagSet("trial", pflag.ContinueOnError)
	flags.StringVar(&dir, "dir", ".run", "directory of the system: its state, logs and process IDs")
	flags.StringVar(&binDir, "bin-dir", "", "directory of the binaries (default bin in the directory of the system)")
	flags.StringSliceVar(&without, "without", nil,
		"processes not to start, such as extender or vnode, to run them yourself")
	shape := system.DefaultShape()
	flags.IntVar(&shape.LocalNodes, "local-nodes", shape.LocalNodes, "number of local nodes of a new system")
	flags.StringVar(&shape.LocalCPU, "local-cpu", shape.LocalCPU, "CPU of each local node")
	flags.StringVar(&shape.LocalMemory, "local-memory", shape.LocalMemory, "memory of each local node")
	flags.IntVar(&shape.VirtualNodes, "virtual-nodes", shape.VirtualNodes, "number of virtual nodes")
	flags.StringVar(&shape.VirtualZones, "virtual-zones", "",
		"zones, such as a,b: one virtual node in each, and the local nodes spread over them")
	flags.BoolVar(&shape.HA, "ha", false, "run two of each program and two schedulers, the extender as a service")
	flags.StringVar(&shape.Kubernetes, "kubernetes", "",
		"version of the control plane: "+strings.Join(system.KubernetesVersions, ", ")+" (default the newest)")
	var topology string
	flags.StringVar(
		&topology,
		"topology",
		"sidecar",
		"how the scheduler reaches the extender: sidecar, own-scheduler for one next to the cluster's, or service for "+
			"two extenders that elect a leader, over mutual TLS",
	)
	flags.SetOutput(out)
	flags.Usage = func() { fmt.Fprint(out, usage+flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if shape.Topology = system.Topology(topology); topology == "sidecar" {
		shape.Topology = system.TopologySidecar
	}
	if shape.HA && !flags.Changed("topology") {
		shape.Topology = system.TopologyService
	}
	if shape.VirtualZones != "" && !flags.Changed("virtual-nodes") {
		shape.VirtualNodes = len(strings.Split(shape.VirtualZones, ","))
	}
	if binDir == "" {
		binDir = filepath.Join(dir, "bin")
	}
	switch command := flags.Arg(0); {
	case command == "up" && flags.NArg() == 1:
		shape, err := keepShape(dir, shape, flags)
		if err != nil {
			return err
		}
		return up(ctx, system.Config{Dir: dir, BinDir: binDir, Shape: shape, Without: without, Progress: out})
	case command == "down" && flags.NArg() == 1:
		return down(ctx, dir, out)
	case command == "demo" && flags.NArg() == 1:
		return demo(ctx, dir, binDir, shape.Kubernetes, shape.Topology, out)
	default:
		flags.Usage()
		return fmt.Errorf("%q: must be one command: up, down or demo", flags.Args())
	}
}

// keepShape returns the shape with which the system was first started. Only flags that are set change it.
func keepShape(dir string, wanted system.Shape, flags *pflag.FlagSet) (system.Shape, error) {
	recorded, ok, err := system.Recorded(dir)
	if err != nil || !ok {
		return wanted, err
	}
	if flags.Changed("local-nodes") {
		recorded.LocalNodes = wanted.LocalNodes
	}
	if flags.Changed("local-cpu") {
		recorded.LocalCPU = wanted.LocalCPU
	}
	if flags.Changed("local-memory") {
		recorded.LocalMemory = wanted.LocalMemory
	}
	if flags.Changed("virtual-zones") {
		recorded.VirtualZones = wanted.VirtualZones
	}
	if flags.Changed("virtual-nodes") || flags.Changed("virtual-zones") {
		recorded.VirtualNodes = wanted.VirtualNodes
	}
	// HA determines the topology, unless that is set too.
	if flags.Changed("topology") || flags.Changed("ha") && recorded.HA != wanted.HA {
		recorded.Topology = wanted.Topology
	}
	if flags.Changed("ha") {
		recorded.HA = wanted.HA
	}
	if flags.Changed("kubernetes") {
		recorded.Kubernetes = wanted.Kubernetes
	}
	return recorded, nil
}
