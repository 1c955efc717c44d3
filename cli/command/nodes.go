package command

import (
	"context"
	"io"

	"github.com/spf13/cobra"

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
	render, err := renderer(output, nodes.List.Text)
	if err != nil {
		return err
	}
	reader, err := o.newReader(ctx)
	if err != nil {
		return err
	}
	in, err := reader.Nodes(ctx)
	if err != nil {
		return err
	}
	text, err := render(nodes.Count(in))
	if err != nil {
		return err
	}
	_, err = io.WriteString(o.Out, text)
	return err
}
