package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
)

const (
	// programsShare is the fraction of the time, 1/programsShare, that the command waits for the programs to stop.
	programsShare = 4
	// reserve is the time that is left after the cleanup of the cloud: for the steps after it, and to print what
	// remains.
	reserve = 15 * time.Second
)

// uninstallConfig is the configuration of "vnode uninstall": the file of a virtual node, as for "vnode gc", and flags
// of its own.
type uninstallConfig struct {
	config.Config
	// Programs is a label selector for the Pods of Spillway's programs in LeaderElectionNamespace. Default
	// app.kubernetes.io/name=spillway.
	Programs string `json:"-"`
	// Scheduler is the scheduler that was installed with Spillway. Waiting Pods that it should place are replaced, as
	// those with the marker resource are. Default empty: there was none.
	Scheduler string `json:"-"`
	// Cloud deletes what is in the cloud too. Set it to false if the cloud itself is deleted, such as a simulated one.
	// Default true.
	Cloud bool `json:"-"`
	// Timeout is how long the command may take. What is not deleted by then is printed. At least 30s. Default 4m.
	Timeout time.Duration `json:"-"`
}

// AddFlags binds the fields that have flags.
func (c *uninstallConfig) AddFlags(flags *pflag.FlagSet) {
	c.AddCleanupFlags(flags)
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace,
		"`namespace` of Spillway's programs")
	flags.StringVar(&c.Programs, "programs", c.Programs,
		"label `selector` for the Pods of Spillway's programs, which must have stopped")
	flags.StringVar(&c.Scheduler, "scheduler", c.Scheduler,
		"`name` of the scheduler that was installed with Spillway: its waiting Pods are replaced")
	flags.BoolVar(&c.Cloud, "cloud", c.Cloud, "delete what the cluster has in the cloud too")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout,
		"maximum `time`; what is not deleted by then is printed")
}

// Validate returns every error at once.
func (c *uninstallConfig) Validate() error {
	errs := append(c.ValidateCleanup(), c.Kube.Validate(field.NewPath("kube"))...)
	errs = append(errs, validateTimeout(c.Timeout, 2*reserve)...)
	if c.LeaderElectionNamespace == "" {
		errs = append(errs, field.Required(field.NewPath("leaderElectionNamespace"),
			"must be the namespace of Spillway's programs"))
	}
	if c.Scheduler == corev1.DefaultSchedulerName {
		errs = append(errs, field.Invalid(field.NewPath("scheduler"), c.Scheduler,
			"must be a scheduler that was installed with Spillway: the waiting Pods of this one are not Spillway's"))
	}
	if selector, err := labels.Parse(c.Programs); err != nil || selector.Empty() {
		errs = append(errs, field.Invalid(field.NewPath("programs"), c.Programs,
			"must be a label selector, such as app.kubernetes.io/name=spillway"))
	}
	return errs.ToAggregate()
}

// Uninstall is "vnode uninstall". It deletes what Spillway created in the cluster while it ran, and what the cluster
// has in the cloud. It tries every step, prints to out what it did and what remains, and fails if something remains.
func Uninstall(ctx context.Context, args []string, out io.Writer, setUp SetUpLogging) error {
	cfg := &uninstallConfig{
		Config: *config.Default(), Programs: "app.kubernetes.io/name=spillway", Cloud: true, Timeout: 4 * time.Minute,
	}
	if err := loader.Load("vnode uninstall", args, cfg); err != nil {
		return err
	}
	logger, err := setUp(cfg.Logging)
	if err != nil {
		return err
	}
	client, err := cfg.KubeClient("vnode-uninstall")
	if err != nil {
		return err
	}
	u := &uninstaller{config: cfg, out: out, logger: logger}
	u.cluster = &clusterCleaner{
		client: client, clusterID: cfg.ClusterID, scheduler: cfg.Scheduler, poll: poll, printf: u.printf,
	}
	return u.run(ctx)
}

// uninstaller is one run of "vnode uninstall".
type uninstaller struct {
	config  *uninstallConfig
	cluster *clusterCleaner
	out     io.Writer
	logger  *slog.Logger
	// remains holds what could not be deleted.
	remains []error
}

func (u *uninstaller) printf(format string, args ...any) { fmt.Fprintf(u.out, format+"\n", args...) }

func (u *uninstaller) note(err error) {
	if err != nil {
		u.remains = append(u.remains, err)
	}
}

// run deletes the nodes first, so that no new Pods arrive. It deletes the Pods in the cloud before those in the
// cluster, so that no two Pods of the same name run at once.
func (u *uninstaller) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	defer cancel()
	stopping, cancelStopping := context.WithTimeout(ctx, u.config.Timeout/programsShare)
	defer cancelStopping()
	u.note(u.cluster.awaitPrograms(stopping, u.config.LeaderElectionNamespace, u.config.Programs))
	nodes, err := u.cluster.deleteNodes(ctx)
	u.note(err)
	u.note(u.cluster.deleteRequests(ctx, nodes))
	u.note(u.cluster.replaceWaiting(ctx))
	u.note(u.cluster.deletePods(ctx, nodes, false))
	var cloudErr error
	if u.config.Cloud {
		cloudErr = u.cleanCloud(ctx)
		u.note(cloudErr)
	}
	u.note(u.cluster.deletePods(ctx, nodes, true))
	return u.result(cloudErr != nil)
}

// cleanCloud deletes all that the cluster has in the cloud, as if the cluster no longer existed.
func (u *uninstaller) cleanCloud(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-reserve))
	defer cancel()
	cloud, err := u.config.CloudClient(cci.Config{Logger: u.logger})
	var errs []error
	for _, namespace := range u.config.CloudNamespaces() {
		err := err
		if err == nil {
			finder := &orphans.Finder{
				Cloud: cloud, Namespace: namespace, ClusterID: u.config.ClusterID, Terminating: true,
				Snapshots: u.config.Policy.CCIVersion != policy.CCI1,
			}
			cleaner := &cloudCleaner{finder: finder, namespace: true, poll: poll, now: time.Now, out: u.out}
			err = cleaner.clean(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf(
				"in cloud namespace %s objects of cluster %s, which may include Pods that are billed: %w",
				namespace, u.config.ClusterID, err))
		}
	}
	return errors.Join(errs...)
}

// result prints what remains, and how to delete it.
func (u *uninstaller) result(inCloud bool) error {
	if len(u.remains) == 0 {
		u.printf("Nothing of Spillway remains.")
		return nil
	}
	u.printf("What remains:")
	for _, err := range u.remains {
		u.printf("- %v", err)
	}
	if inCloud {
		u.printf("To delete what is in the cloud, run this on any machine that reaches it, "+
			"even after the cluster is gone:\n%s", strings.Join(gcCommands(&u.config.Config), "\n"))
	}
	return fmt.Errorf("uninstalling Spillway: %w", errors.Join(u.remains...))
}

// gcCommands returns the commands that delete, later and elsewhere, what the cluster has in its cloud namespaces.
func gcCommands(c *config.Config) []string {
	var commands []string
	for _, namespace := range c.CloudNamespaces() {
		one := *c
		one.CCI.Namespace = namespace
		commands = append(commands, gcCommand(&one))
	}
	return commands
}

func gcCommand(c *config.Config) string {
	command := fmt.Sprintf(
		"vnode gc --without-cluster --min-age=0s --cluster-id=%s --cci-namespace=%s "+
			"--cci-region=%s --cci-project-id=%s",
		c.ClusterID, c.CCI.Namespace, c.CCI.Region, c.CCI.ProjectID)
	if c.CCI.Endpoint != "" {
		command += " --cci-endpoint=" + c.CCI.Endpoint
	}
	if c.CCI.AllowHTTP {
		command += " --cci-allow-http"
	}
	if c.Policy.CCIVersion == policy.CCI1 {
		command += " --cci-version=" + string(policy.CCI1)
	}
	return command + " --cci-credentials-file=FILE"
}
