package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/cli/nodes"
)

func (o *options) nodes() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "nodes",
		Short: "The virtual nodes: Pods, load, what is billed, locks and problems",
		Long: "Lists the virtual nodes with their Pods, what these request of the capacity and what they are billed\n" +
			"as, whether the node takes Pods, until when it is locked, and each condition that says what is wrong.",
		Example: "  kubectl spillway nodes\n  kubectl spillway nodes -o json",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return o.runNodes(command.Context(), output) },
	}
	addOutput(command, &output)
	return command
}

func (o *options) runNodes(ctx context.Context, output string) error {
	return answer[nodes.List]{
		find: func(ctx context.Context, reader *cluster.Reader) (nodes.List, error) {
			in, err := reader.Nodes(ctx)
			return nodes.Count(in), err
		},
		text:   nodes.List.Text,
		format: output,
	}.print(ctx, o)
}
