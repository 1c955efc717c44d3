package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/spillway-k8s/spillway/cli/drainback"
	"github.com/spillway-k8s/spillway/internal/run"
)

// How often drain-back reads the cluster, and for how long each Pod that is left must have had a reason why it stays.
// The extender looks for Pods that can move every few seconds.
const (
	drainBackPeriod = 2 * time.Second
	drainBackSettle = 30 * time.Second
)

// drainBack is the command "drain-back".
type drainBack struct {
	*options
	all, dryRun, cancel bool
	timeout             time.Duration
}

func (o *options) drainBack() *cobra.Command {
	d := &drainBack{options: o}
	command := &cobra.Command{
		Use:   "drain-back (TYPE NAME | TYPE/NAME | --all)",
		Short: "Ask that Pods return from the cloud to local nodes, and follow them",
		Long: "Asks the extender to move Pods from the cloud to local nodes: those of a workload, or all of the\n" +
			"namespace. It decides by the rules of the way home, without its minimum age, schedule and pauses: one\n" +
			"Pod of a workload at a time, only if a local node has room, and within PodDisruptionBudgets. The " +
			"command\nprints what becomes of each Pod. The exit code is 1 if Pods stay in the cloud. It needs the " +
			"right to\npatch Pods. If it is interrupted, the requests stay for a day; --cancel takes them back.",
		Example: "  kubectl spillway drain-back deployment/cart\n" +
			"  kubectl spillway drain-back --all -n shop --dry-run\n" +
			"  kubectl spillway drain-back --all -n shop --timeout 1h\n" +
			"  kubectl spillway drain-back deployment/cart --cancel",
		ValidArgsFunction: o.completeObject,
		RunE:              func(command *cobra.Command, args []string) error { return d.run(command.Context(), args) },
	}
	flags := command.Flags()
	flags.BoolVar(&d.all, "all", false, "all Pods of the namespace")
	flags.BoolVar(&d.dryRun, "dry-run", false, "print what would be asked, and ask nothing")
	flags.BoolVar(&d.cancel, "cancel", false, "take requests back; moves that have begun go on")
	flags.DurationVar(&d.timeout, "timeout", 0, "how `long` to follow the Pods, such as 30m; 0 is without end")
	return command
}

func (d *drainBack) run(ctx context.Context, args []string) error {
	switch {
	case d.all == (len(args) > 0):
		return fmt.Errorf("%w: name a Pod or a workload, such as \"deployment/NAME\", or use --all", run.ErrUsage)
	case d.dryRun && d.cancel:
		return fmt.Errorf("%w: use --dry-run or --cancel, not both", run.ErrUsage)
	case d.timeout < 0:
		return fmt.Errorf("%w: --timeout: invalid value %s: must not be negative", run.ErrUsage, d.timeout)
	}
	candidates, err := d.candidates(ctx, args)
	if err != nil {
		return err
	}
	config, err := d.restConfig()
	if err != nil {
		return err
	}
	client, err := newClient(config)
	if err != nil {
		return err
	}
	namespace, err := d.namespace(false)
	if err != nil {
		return err
	}
	drain := drainback.Drain{
		Client: client, Out: d.Out, Now: time.Now, Period: drainBackPeriod, Settle: drainBackSettle,
		TakeBack: takeBack(namespace, args),
	}
	switch {
	case d.dryRun:
		drain.Preview(candidates)
		return nil
	case d.cancel:
		return drain.Cancel(ctx, candidates)
	}
	if d.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, d.timeout)
		defer stop()
	}
	return drain.Run(ctx, candidates)
}

// candidates returns the Pods in the cloud that the arguments name.
func (d *drainBack) candidates(ctx context.Context, args []string) ([]drainback.Candidate, error) {
	reader, err := d.newReader(ctx)
	if err != nil {
		return nil, err
	}
	if d.all {
		namespace, err := d.namespace(false)
		if err != nil {
			return nil, err
		}
		return reader.InCloud(ctx, namespace, "")
	}
	objects, err := d.objects(args, resource.FilenameOptions{})
	if err != nil {
		return nil, err
	}
	var all []drainback.Candidate
	for _, object := range objects {
		if object.GetUID() == "" {
			continue // The API server gives each object a UID.
		}
		found, err := reader.InCloud(ctx, object.GetNamespace(), object.GetUID())
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// takeBack returns the command that takes requests back.
func takeBack(namespace string, args []string) string {
	what := strings.Join(args, " ")
	if what == "" {
		what = "--all"
	}
	return fmt.Sprintf("kubectl spillway drain-back -n %s %s --cancel", namespace, what)
}
