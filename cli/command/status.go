package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/cli/status"
)

// watchPeriod is how often --watch reads the cluster.
const watchPeriod = 2 * time.Second

// statusCommand is the command "status".
type statusCommand struct {
	*options
	all, watch bool
	output     string
}

func (o *options) status() *cobra.Command {
	s := &statusCommand{options: o}
	command := &cobra.Command{
		Use:   "status",
		Short: "Local, cloud and waiting Pods of each workload, and the load of the virtual nodes",
		Long: "Lists the workloads that have a local quota or a burst label, or Pods in the cloud, with the size\n" +
			"that the cloud bills, and the virtual nodes with their load and whether they take Pods.",
		Example: "  kubectl spillway status\n  kubectl spillway status -A --watch",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return s.run(command.Context()) },
	}
	flags := command.Flags()
	flags.BoolVarP(&s.all, "all-namespaces", "A", false, "workloads of all namespaces")
	flags.BoolVarP(&s.watch, "watch", "w", false, "print the status again whenever it changes")
	addOutput(command, &s.output)
	return command
}

func (s *statusCommand) run(ctx context.Context) error {
	namespace, err := s.namespace(s.all)
	if err != nil {
		return err
	}
	a := answer[status.Status]{
		find: func(ctx context.Context, reader *cluster.Reader) (status.Status, error) {
			in, err := reader.Status(ctx, namespace)
			return status.Summarize(in), err
		},
		text:   func(found status.Status) string { return found.Text(s.all) },
		format: s.output,
	}
	if s.watch {
		a.period = watchPeriod
	}
	return a.print(ctx, s.options)
}
