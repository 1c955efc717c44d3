package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// gcConfig is what "vnode gc" reads: the file of a virtual node, of which it needs the cluster, its id and the cloud, and flags of its own.
type gcConfig struct {
	config.Config
	// WithoutCluster takes the cluster for gone: all its cloud Pods are orphans, and nobody needs the CCI namespace for it.
	WithoutCluster bool `json:"-"`
	// DryRun ends nothing.
	DryRun bool `json:"-"`
	// MinAge spares what is younger.
	MinAge time.Duration `json:"-"`
	// Timeout is how long all of it may take.
	Timeout time.Duration `json:"-"`
}

// AddFlags binds the fields that have flags.
func (c *gcConfig) AddFlags(flags *pflag.FlagSet) {
	c.AddCleanupFlags(flags)
	flags.BoolVar(&c.WithoutCluster, "without-cluster", c.WithoutCluster, "take the cluster for gone, do not ask it: all that is its in the cloud is removed")
	flags.BoolVar(&c.DryRun, "dry-run", c.DryRun, "say what would be ended, and end nothing")
	flags.DurationVar(&c.MinAge, "min-age", c.MinAge, "spare cloud Pods that are younger")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "`time` that it may take until all is gone")
}

// Validate reports every fault at once.
func (c *gcConfig) Validate() error {
	faults := []error{c.ValidateCleanup()}
	if !c.WithoutCluster {
		faults = append(faults, c.Kube.Validate(field.NewPath("kube")).ToAggregate())
	}
	if c.MinAge < 0 {
		faults = append(faults, fmt.Errorf("min-age: invalid value %s: must not be negative", c.MinAge))
	}
	faults = append(faults, atLeast("timeout", c.Timeout, time.Second))
	return errors.Join(faults...)
}

// GC is "vnode gc": it ends the cloud Pods of a cluster that stand for none of its Pods, and says which. It fails where something is
// left that it should have removed. setUp makes its logger.
func GC(ctx context.Context, args []string, out io.Writer, setUp func(logging.Config) (*slog.Logger, error)) error {
	cfg := defaultGC()
	if err := loader.Load("vnode gc", args, cfg); err != nil {
		return err
	}
	logger, err := setUp(cfg.Logging)
	if err != nil {
		return err
	}
	cloud, err := cfg.CloudClient(cci.Config{Logger: logger})
	if err != nil {
		return err
	}
	finder := &orphans.Finder{Cloud: cloud, Namespace: cfg.CCI.Namespace, ClusterID: cfg.ClusterID, Ending: true}
	if !cfg.WithoutCluster {
		client, err := cfg.KubeClient("vnode-gc")
		if err != nil {
			return err
		}
		cluster := orphans.API{Client: client.CoreV1()}
		finder.Cluster, finder.Gone = cluster, cluster.Gone("")
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	return (&garbage{finder: finder, minAge: cfg.MinAge, dryRun: cfg.DryRun, namespace: cfg.WithoutCluster, out: out}).collect(ctx)
}

func atLeast(field string, value, least time.Duration) error {
	if value < least {
		return fmt.Errorf("%s: invalid value %s: must be %s or more", field, value, least)
	}
	return nil
}
