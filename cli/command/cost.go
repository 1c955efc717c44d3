package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/cli/cost"
)

func (o *options) cost() *cobra.Command {
	var all bool
	var output string
	command := &cobra.Command{
		Use:   "cost",
		Short: "What the Pods in the cloud cost, by namespace and workload, and what fits on local nodes",
		Long: "Lists the workloads with Pods in the cloud: the sizes that the cloud bills, their price for an hour\n" +
			"and for a month of 730 hours, and how many of the Pods local nodes have room for now. The prices are\n" +
			"those of the values of the chart.",
		Example: "  kubectl spillway cost\n  kubectl spillway cost -A\n  kubectl spillway cost -A -o json",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return o.runCost(command.Context(), all, output) },
	}
	flags := command.Flags()
	flags.BoolVarP(&all, "all-namespaces", "A", false, "workloads of all namespaces, with the sum of each namespace")
	addOutput(command, &output)
	return command
}

func (o *options) runCost(ctx context.Context, all bool, output string) error {
	namespace, err := o.namespace(all)
	if err != nil {
		return err
	}
	return answer[cost.Cost]{
		find: func(ctx context.Context, reader *cluster.Reader) (cost.Cost, error) {
			in, err := reader.Cost(ctx, namespace)
			return cost.Summarize(in), err
		},
		text:   func(found cost.Cost) string { return found.Text(all) },
		format: output,
	}.print(ctx, o)
}
