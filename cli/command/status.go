package command

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

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
	render, err := renderer(s.output, func(found status.Status) string { return found.Text(s.all) })
	if err != nil {
		return err
	}
	namespace, err := s.namespace(s.all)
	if err != nil {
		return err
	}
	reader, err := s.newReader(ctx)
	if err != nil {
		return err
	}
	for printed := ""; ; {
		in, err := reader.Status(ctx, namespace)
		if err != nil {
			return err
		}
		text, err := render(status.Summarize(in))
		if err != nil {
			return err
		}
		if text != printed {
			if _, err := io.WriteString(s.Out, text); err != nil {
				return err
			}
			printed = text
		}
		if !s.watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is the way to end a watch.
		case <-time.After(watchPeriod):
		}
	}
}
