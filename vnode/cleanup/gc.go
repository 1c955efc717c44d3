// Package cleanup holds the subcommands that delete what virtual nodes leave behind: "vnode gc" deletes it in the
// cloud, "vnode uninstall" in the cloud and in the cluster. What was installed together with the programs, such as a
// chart, is deleted by its installer.
package cleanup

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// gcConfig is the configuration of "vnode gc": the file of a virtual node, of which it uses the cluster, its ID and the
// cloud, and flags of its own.
type gcConfig struct {
	config.Config
	// WithoutCluster assumes that the cluster no longer exists: all its cloud Pods are orphans, and it no longer needs
	// the cloud namespace. Default false.
	WithoutCluster bool `json:"-"`
	// DryRun deletes nothing. Default false.
	DryRun bool `json:"-"`
	// MinAge skips cloud Pods that are younger. Default 5m.
	MinAge time.Duration `json:"-"`
	// Timeout is how long the command may take. At least 1s. Default 5m.
	Timeout time.Duration `json:"-"`
}

// AddFlags binds the fields that have flags.
func (c *gcConfig) AddFlags(flags *pflag.FlagSet) {
	c.AddCleanupFlags(flags)
	c.AddIdentityFlag(flags)
	flags.BoolVar(&c.WithoutCluster, "without-cluster", c.WithoutCluster,
		"assume that the cluster no longer exists: do not connect to it, "+
			"and delete everything that it has in the cloud")
	flags.BoolVar(&c.DryRun, "dry-run", c.DryRun, "print what would be deleted, and delete nothing")
	flags.DurationVar(&c.MinAge, "min-age", c.MinAge, "skip cloud Pods that are younger")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "maximum `time` until everything is deleted")
}

// Validate returns every error at once.
func (c *gcConfig) Validate() error {
	errs := c.ValidateCleanup()
	if !c.WithoutCluster {
		errs = append(errs, c.Kube.Validate(field.NewPath("kube"))...)
	}
	if c.MinAge < 0 {
		errs = append(errs, field.Invalid(field.NewPath("min-age"), c.MinAge.String(), "must not be negative"))
	}
	return append(errs, validateTimeout(c.Timeout, time.Second)...).ToAggregate()
}

func validateTimeout(timeout, least time.Duration) field.ErrorList {
	if timeout < least {
		return field.ErrorList{field.Invalid(field.NewPath("timeout"), timeout.String(),
			"must be "+least.String()+" or more")}
	}
	return nil
}

// SetUpLogging creates the logger of a subcommand.
type SetUpLogging func(logging.Config) (*slog.Logger, error)

// GC is "vnode gc". It deletes the cloud Pods of a cluster that no longer have a Pod, and prints which to out. It
// fails if it could not delete something that it should have deleted.
func GC(ctx context.Context, args []string, out io.Writer, setUp SetUpLogging) error {
	cfg := &gcConfig{Config: *config.Default(), MinAge: 5 * time.Minute, Timeout: 5 * time.Minute}
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
	finder := orphans.Finder{
		Cloud: cloud, ClusterID: cfg.ClusterID, Terminating: true, Snapshots: cfg.Policy.CCIVersion != policy.CCI1,
	}
	if !cfg.WithoutCluster {
		client, err := cfg.KubeClient("vnode-gc")
		if err != nil {
			return err
		}
		cluster := cfg.Cluster("vnode-gc", client)
		finder.Cluster, finder.Gone = cluster, cluster.Gone("")
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	var errs []error
	for _, namespace := range cfg.CloudNamespaces() {
		in := finder
		in.Namespace = namespace
		cleaner := &cloudCleaner{
			finder: &in, minAge: cfg.MinAge, dryRun: cfg.DryRun, namespace: cfg.WithoutCluster,
			poll: poll, now: time.Now, out: out,
		}
		errs = append(errs, cleaner.clean(ctx))
	}
	return errors.Join(errs...)
}
