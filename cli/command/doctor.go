package command

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/cli/doctor"
)

func (o *options) doctor() *cobra.Command {
	output := ""
	command := &cobra.Command{
		Use:   "doctor",
		Short: "What keeps Spillway from working in the cluster, and what mends it",
		Long: "Checks the programs, webhooks, certificates, Leases, rights and virtual nodes, other systems of the\n" +
			"cluster and the keys of workloads. Each finding has a code, what follows from it, and the command that\n" +
			"mends it. It only reads, with your rights: what you may not read is left out, and said. The exit code\n" +
			"is 1 if there are errors. The account of the cloud is checked by \"vnode doctor\".",
		Example: "  kubectl spillway doctor\n  kubectl spillway doctor -o json",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return o.runDoctor(command.Context(), output) },
	}
	addOutput(command, &output)
	return command
}

func (o *options) runDoctor(ctx context.Context, output string) error {
	render, err := renderer(output, doctor.Report.Text)
	if err != nil {
		return err
	}
	config, err := o.restConfig()
	if err != nil {
		return err
	}
	client, err := newClient(config)
	if err != nil {
		return err
	}
	snapshot, err := cluster.Diagnose(ctx, client, time.Now)
	if err != nil {
		return err
	}
	report := doctor.Check(snapshot)
	text, err := render(report)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(o.Out, text); err != nil {
		return err
	}
	return report.Findings.Err()
}
