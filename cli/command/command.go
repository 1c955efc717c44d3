// Package command is the command line of kubectl spillway: it reads arguments and flags, connects to the cluster with
// the kubeconfig of the user, and calls the package that does the work.
package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/internal/run"
)

// plugin is the name of the binary. kubectl runs it as "kubectl spillway".
const plugin = "kubectl-spillway"

// options are what all commands share.
type options struct {
	genericiooptions.IOStreams
	// flags are those of kubectl, such as --kubeconfig, --context and --namespace.
	flags *genericclioptions.ConfigFlags
}

// New returns the command with all subcommands.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	o := &options{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   plugin,
		Short: "Where Pods run and why, what would change it, and what it costs",
		// The name in usage texts and completions.
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl spillway"},
		SilenceErrors: true, // run.Tool prints them.
		SilenceUsage:  true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see %s --help", run.ErrUsage, err, command.CommandPath())
	})
	o.flags.AddFlags(root.PersistentFlags())
	complete(root, "namespace", o.completeNamespace)
	root.AddCommand(o.version(), o.why(), o.status(), o.nodes(), o.cost(), o.dashboard(), o.doctor(),
		o.drainBack())
	return root
}

// restConfig returns the connection of the user's kubeconfig.
func (o *options) restConfig() (*rest.Config, error) {
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.UserAgent = plugin
	// The defaults, 5 a second after 10, would make a command wait for itself. Fairness is the API server's task.
	config.QPS, config.Burst = 50, 300
	return config, nil
}

// newClient returns a client with the rights of the user.
func newClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	// Lists of many Pods are read several times faster than as JSON.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client of the cluster: %w", err)
	}
	return client, nil
}

// newReader returns a Reader of the cluster. It blocks for API calls.
func (o *options) newReader(ctx context.Context) (*cluster.Reader, error) {
	config, err := o.restConfig()
	if err != nil {
		return nil, err
	}
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client of the cluster: %w", err)
	}
	owners, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client of the cluster: %w", err)
	}
	mapper, err := o.flags.ToRESTMapper()
	if err != nil {
		return nil, fmt.Errorf("reading the resources of the cluster: %w", err)
	}
	return cluster.New(ctx, client, objects, owners, mapper)
}

// namespace returns the namespace of the kubeconfig or of --namespace, or none if all are asked for.
func (o *options) namespace(all bool) (string, error) {
	if all {
		return metav1.NamespaceAll, nil
	}
	name, _, err := o.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the namespace of the kubeconfig: %w", err)
	}
	return name, nil
}

func (o *options) version() *cobra.Command {
	clientOnly := false
	command := &cobra.Command{
		Use:   "version",
		Short: "The version of the plugin, and that of Spillway in the cluster",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if _, err := fmt.Fprintln(o.Out, run.Version(plugin)); err != nil || clientOnly {
				return err
			}
			return o.printInstalled(command.Context())
		},
	}
	command.Flags().BoolVar(&clientOnly, "client", false, "do not ask the cluster")
	return command
}

func (o *options) printInstalled(ctx context.Context) error {
	config, err := o.restConfig()
	if err != nil {
		return err
	}
	client, err := newClient(config)
	if err != nil {
		return err
	}
	installed, err := installation.Read(ctx, client)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "spillway %s in namespace %s\n", installed.Version, installed.Namespace)
	return err
}
