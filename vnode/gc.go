package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/orphans"
)

// gcPoll is between two looks whether what was ended is gone.
const gcPoll = time.Second

// gcConfig is what "vnode gc" reads: the file of a virtual node, of which it needs the cluster, its id and the cloud, and flags of its own.
type gcConfig struct {
	Config
	// WithoutCluster takes the cluster for gone: all its cloud Pods are orphans.
	WithoutCluster bool `json:"-"`
	// DryRun ends nothing.
	DryRun bool `json:"-"`
	// MinAge spares what is younger.
	MinAge time.Duration `json:"-"`
	// Timeout is for how long to wait until all is gone.
	Timeout time.Duration `json:"-"`
}

// AddFlags binds the fields that have flags.
func (c *gcConfig) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "`id` of the cluster among those of the account")
	addVersionFlag(flags, &c.Policy)
	c.CCI.addFlags(flags)
	flags.BoolVar(&c.WithoutCluster, "without-cluster", c.WithoutCluster, "take the cluster for gone, do not ask it: all its cloud Pods are orphans")
	flags.BoolVar(&c.DryRun, "dry-run", c.DryRun, "say what would be ended, and end nothing")
	flags.DurationVar(&c.MinAge, "min-age", c.MinAge, "spare cloud Pods that are younger")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "wait so long until all is gone")
}

// Validate reports every fault at once. What only a running node needs is not asked for.
func (c *gcConfig) Validate() error {
	faults := []error{c.Logging.Validate(), c.Policy.Validate(), c.validateClusterID(), namespaceName(c.CCI.Namespace), c.CCI.validateAccess()}
	if !c.WithoutCluster {
		faults = append(faults, c.Kube.Validate())
	}
	if c.MinAge < 0 || c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("min-age, timeout: invalid values %s and %s: must not be negative", c.MinAge, c.Timeout))
	}
	return errors.Join(faults...)
}

// collect is "vnode gc": it ends the cloud Pods of a cluster that stand for none of its Pods, and says which. It fails where something is
// left. setUp makes its logger.
func collect(ctx context.Context, args []string, out io.Writer, setUp func(logging.Config) (*slog.Logger, error)) error {
	cfg := &gcConfig{Config: *defaultConfig(), MinAge: 5 * time.Minute, Timeout: 5 * time.Minute}
	if err := config.Load("vnode gc", args, cfg); err != nil {
		return err
	}
	logger, err := setUp(cfg.Logging)
	if err != nil {
		return err
	}
	cloud, err := cfg.cloud(cci.Config{Logger: logger})
	if err != nil {
		return err
	}
	finder := &orphans.Finder{Cloud: cloud, Namespace: cfg.CCI.Namespace, ClusterID: cfg.ClusterID}
	if !cfg.WithoutCluster {
		rest, err := cfg.Kube.REST("vnode-gc")
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(rest)
		if err != nil {
			return fmt.Errorf("making the client of the cluster: %w", err)
		}
		cluster := orphans.API{Client: client.CoreV1()}
		finder.Cluster, finder.Gone = cluster, cluster.Gone("")
	}
	return (&garbage{config: cfg, finder: finder, out: out}).collect(ctx)
}

// garbage is one run of "vnode gc".
type garbage struct {
	config *gcConfig
	finder *orphans.Finder
	out    io.Writer
}

func (g *garbage) collect(ctx context.Context) error {
	all, err := g.finder.Find(ctx)
	if cci.IsNotFound(err) {
		fmt.Fprintf(g.out, "The cloud has no namespace %s: nothing is left.\n", g.config.CCI.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for orphans: %w", err)
	}
	if err := g.end(ctx, all); err != nil {
		return err
	}
	return g.copies(ctx)
}

// end ends the orphans that are old enough, and returns when they are gone.
func (g *garbage) end(ctx context.Context, all []orphans.Orphan) error {
	var old []orphans.Orphan
	for _, o := range all {
		if o.Age(time.Now()) >= g.config.MinAge {
			old = append(old, o)
		}
	}
	g.print(old, len(all)-len(old))
	if g.config.DryRun || len(old) == 0 {
		return nil
	}
	var faults []error
	for _, o := range old {
		faults = append(faults, g.finder.End(ctx, o))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("ending orphans: %w", err)
	}
	return g.await(ctx, old)
}

// copies removes what virtual nodes that are no more had copied, once their Pods are gone.
func (g *garbage) copies(ctx context.Context) error {
	found, err := g.finder.FindCopies(ctx)
	if err != nil {
		return fmt.Errorf("looking for copies of removed nodes: %w", err)
	}
	var faults []error
	for _, c := range found {
		if !g.config.DryRun {
			faults = append(faults, g.finder.Remove(ctx, c))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("removing copies of removed nodes: %w", err)
	}
	what := "removed"
	if g.config.DryRun {
		what = "found"
	}
	fmt.Fprintf(g.out, "%d copies of ConfigMaps, Secrets and claims of virtual nodes that are no more %s.\n", len(found), what)
	return nil
}

func (g *garbage) print(old []orphans.Orphan, young int) {
	table := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', 0)
	if len(old) > 0 {
		fmt.Fprintln(table, "CLOUD POD\tNODE\tNAMESPACE\tPOD\tPHASE\tAGE")
	}
	for _, o := range old {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Cloud.Name, o.Node, o.Key.Namespace, o.Key.Name, o.Cloud.Status.Phase,
			o.Age(time.Now()).Round(time.Second))
	}
	_ = table.Flush() // Whoever closed the output does not read it.
	what := "ended"
	if g.config.DryRun {
		what = "found; nothing is ended in a dry run"
	}
	fmt.Fprintf(g.out, "%d cloud Pods of cluster %s without a Pod %s; %d younger than %s spared.\n",
		len(old), g.config.ClusterID, what, young, g.config.MinAge)
}

// await returns when the orphans are gone.
func (g *garbage) await(ctx context.Context, ended []orphans.Orphan) error {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	left := map[types.UID]string{}
	for _, o := range ended {
		left[o.Cloud.UID] = o.Cloud.Name
	}
	for {
		for uid, name := range left {
			pod, err := g.finder.Cloud.GetPod(ctx, g.finder.Namespace, name)
			if cci.IsNotFound(err) || err == nil && pod.UID != uid {
				delete(left, uid)
			}
		}
		if len(left) == 0 {
			fmt.Fprintln(g.out, "All of them are gone.")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %d cloud Pods are gone: %w; run it again", len(left), ctx.Err())
		case <-time.After(gcPoll):
		}
	}
}
