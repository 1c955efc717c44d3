package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillway-k8s/spillway/cli/dashboard"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// defaultPort is that of the page. No well-known service has it.
const defaultPort = 8420

// dashboardCommand is the command "dashboard".
type dashboardCommand struct {
	*options
	all  bool
	port uint16
}

func (o *options) dashboard() *cobra.Command {
	d := &dashboardCommand{options: o}
	command := &cobra.Command{
		Use:   "dashboard",
		Short: "A page for your browser: status and why, live",
		Long: "Serves a page on this machine with what \"status\" and \"why\" print, and follows the cluster with\n" +
			"your rights. It changes nothing. Only who has the address that it prints can read the page.",
		Example: "  kubectl spillway dashboard\n  kubectl spillway dashboard -A --port 9000",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return d.run(command.Context()) },
	}
	flags := command.Flags()
	flags.BoolVarP(&d.all, "all-namespaces", "A", false, "workloads of all namespaces")
	flags.Uint16Var(&d.port, "port", defaultPort, "`port` of 127.0.0.1 on which the page is served")
	return command
}

func (d *dashboardCommand) run(ctx context.Context) error {
	if d.port == 0 {
		return fmt.Errorf("%w: --port: invalid value 0: must be 1 to 65535", run.ErrUsage)
	}
	namespace, err := d.namespace(d.all)
	if err != nil {
		return err
	}
	reader, err := d.newReader(ctx)
	if err != nil {
		return err
	}
	live, err := reader.Follow(namespace)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	following.Go(func() { live.Run(ctx) })
	live.WaitForRead(ctx)
	return d.serve(ctx, live, namespace)
}

func (d *dashboardCommand) serve(ctx context.Context, source dashboard.Source, namespace string) error {
	config := dashboard.Config{Namespace: namespace, Key: rand.Text(), Now: time.Now, Done: ctx.Done()}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(d.port)))
	return serve.Server{
		Name: "dashboard", Address: address,
		Handler: dashboard.New(source, config),
		Listening: func() {
			fmt.Fprintf(d.Out, "The dashboard of %s is at\n\n  http://%s/#key=%s\n\nCtrl-C ends it.\n",
				config.Scope(), address, config.Key)
		},
	}.Run(ctx)
}
