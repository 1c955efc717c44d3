package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
)

const (
	// programsShare is the part of the time that is waited for the programs to end.
	programsShare = 4
	// lastWords is what is left of the time when the cloud has had its share: for what comes after it, and for saying what remains.
	lastWords = 15 * time.Second
)

// uninstallConfig is what "vnode uninstall" reads: the file of a virtual node, as "vnode gc" does, and flags of its own.
type uninstallConfig struct {
	config.Config
	// Programs selects the Pods of Spillway's programs in LeaderElectionNamespace by their labels. Default app.kubernetes.io/name=spillway.
	Programs string `json:"-"`
	// Cloud removes what is in the cloud too. Default true; false where the cloud itself is taken away, as the simulated one is.
	Cloud bool `json:"-"`
	// Timeout is how long all of it may take. What is not removed by then is named.
	Timeout time.Duration `json:"-"`
}

// AddFlags binds the fields that have flags.
func (c *uninstallConfig) AddFlags(flags *pflag.FlagSet) {
	c.AddCleanupFlags(flags)
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace, "`namespace` of Spillway's programs")
	flags.StringVar(&c.Programs, "programs", c.Programs, "`selector` of the labels of Spillway's programs, which must have ended")
	flags.BoolVar(&c.Cloud, "cloud", c.Cloud, "remove what the cluster has in the cloud too")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "`time` that it may take; what is not removed by then is named")
}

// Validate reports every fault at once.
func (c *uninstallConfig) Validate() error {
	faults := []error{c.ValidateCleanup(), c.Kube.Validate(field.NewPath("kube")).ToAggregate(), atLeast("timeout", c.Timeout, 2*lastWords)}
	if c.LeaderElectionNamespace == "" {
		faults = append(faults, errors.New("leader-election-namespace: must not be empty"))
	}
	if selector, err := labels.Parse(c.Programs); err != nil || selector.Empty() {
		faults = append(faults, fmt.Errorf("programs: invalid value %q: must be a selector of labels, such as app.kubernetes.io/name=spillway", c.Programs))
	}
	return errors.Join(faults...)
}

// Uninstall is "vnode uninstall": it removes what Spillway has made in the cluster while it ran, and what the cluster has in the cloud. It tries
// everything, says what it did and what remains, and fails where something does. setUp makes its logger.
func Uninstall(ctx context.Context, args []string, out io.Writer, setUp func(logging.Config) (*slog.Logger, error)) error {
	cfg := defaultUninstall()
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
	d := &departure{config: cfg, out: out, logger: logger}
	d.cluster = &clusterCleaner{client: client, clusterID: cfg.ClusterID, say: d.say}
	return d.run(ctx)
}

// departure is one run of "vnode uninstall".
type departure struct {
	config  *uninstallConfig
	cluster *clusterCleaner
	out     io.Writer
	logger  *slog.Logger
	// remains is what could not be removed.
	remains []error
}

func (d *departure) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *departure) note(err error) {
	if err != nil {
		d.remains = append(d.remains, err)
	}
}

// run removes the nodes first, so that nothing new comes, and the Pods in the cloud before those in the cluster, so that no two Pods of one
// name run at a time.
func (d *departure) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	ending, cancelEnding := context.WithTimeout(ctx, d.config.Timeout/programsShare)
	defer cancelEnding()
	d.note(d.cluster.awaitPrograms(ending, d.config.LeaderElectionNamespace, d.config.Programs))
	nodes, err := d.cluster.removeNodes(ctx)
	d.note(err)
	d.note(d.cluster.removeRequests(ctx, nodes))
	d.note(d.cluster.replaceWaiting(ctx))
	d.note(d.cluster.endPods(ctx, nodes, false))
	var cloudErr error
	if d.config.Cloud {
		cloudErr = d.cleanCloud(ctx)
		d.note(cloudErr)
	}
	d.note(d.cluster.endPods(ctx, nodes, true))
	return d.result(cloudErr != nil)
}

// cleanCloud takes the cluster for gone.
func (d *departure) cleanCloud(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-lastWords))
	defer cancel()
	cloud, err := d.config.CloudClient(cci.Config{Logger: d.logger})
	if err == nil {
		finder := &orphans.Finder{Cloud: cloud, Namespace: d.config.CCI.Namespace, ClusterID: d.config.ClusterID, Ending: true}
		err = (&garbage{finder: finder, namespace: true, out: d.out}).collect(ctx)
	}
	if err != nil {
		return fmt.Errorf("in cloud namespace %s whatever is of cluster %s, Pods that are billed among it: %w", d.config.CCI.Namespace, d.config.ClusterID, err)
	}
	return nil
}

// result says what remains, and what helps.
func (d *departure) result(inCloud bool) error {
	if len(d.remains) == 0 {
		d.say("Nothing of Spillway remains.")
		return nil
	}
	d.say("What remains:")
	for _, err := range d.remains {
		d.say("- %v", err)
	}
	if inCloud {
		d.say("To remove what is in the cloud, from any machine that reaches it, also when the cluster is no more:\n%s", gcCommand(&d.config.Config))
	}
	return fmt.Errorf("removing what Spillway has made: %w", errors.Join(d.remains...))
}

// gcCommand is what removes, later and elsewhere, what the cluster has in the cloud.
func gcCommand(c *config.Config) string {
	command := fmt.Sprintf("vnode gc --without-cluster --min-age=0s --cluster-id=%s --cci-namespace=%s --cci-region=%s --cci-project-id=%s",
		c.ClusterID, c.CCI.Namespace, c.CCI.Region, c.CCI.ProjectID)
	if c.CCI.Endpoint != "" {
		command += " --cci-endpoint=" + c.CCI.Endpoint
	}
	if c.Policy.CCIVersion == policy.CCI1 {
		command += " --cci-version=" + string(policy.CCI1)
	}
	return command + " --cci-credentials-file=FILE"
}
