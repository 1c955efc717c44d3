package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// completionTimeout is how long a completion waits for the cluster: the user waits at the prompt.
const completionTimeout = 3 * time.Second

// kinds are what "why" offers first. It takes every kind with a Pod template.
var kinds = []string{"pod", "deployment", "statefulset", "job", "cronjob", "replicaset"}

// addOutput adds the flag --output.
func addOutput(command *cobra.Command, output *string) {
	command.Flags().StringVarP(output, "output", "o", "", "`format`: json or yaml; by default text")
	complete(command, "output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// complete sets the completion of a flag of the command.
func complete(command *cobra.Command, flag string, with cobra.CompletionFunc) {
	_ = command.RegisterFlagCompletionFunc(flag, with) // It fails for a flag that does not exist.
}

// completeObject completes the type and the name of an object.
func (o *options) completeObject(
	command *cobra.Command, args []string, prefix string,
) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return kinds, cobra.ShellCompDirectiveNoFileComp
	case 1:
		return o.completeName(command.Context(), args[0], prefix)
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNamespace completes the name of a namespace.
func (o *options) completeNamespace(
	command *cobra.Command, _ []string, prefix string,
) ([]string, cobra.ShellCompDirective) {
	return o.completeName(command.Context(), "namespaces", prefix)
}

// completeName returns the names of objects that begin with the prefix: none if the cluster does not answer.
func (o *options) completeName(ctx context.Context, kind, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	names, err := o.names(ctx, kind)
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) }),
		cobra.ShellCompDirectiveNoFileComp
}

// names returns the names of the objects of a kind, such as "pod", in the namespace of the user.
func (o *options) names(ctx context.Context, kind string) ([]string, error) {
	namespace, err := o.namespace(false)
	if err != nil {
		return nil, err
	}
	config, err := o.restConfig()
	if err != nil {
		return nil, err
	}
	mapper, err := o.flags.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	resource, err := mapper.ResourceFor(schema.ParseGroupResource(kind).WithVersion(""))
	if err != nil {
		return nil, err
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects := metadata.ResourceInterface(client.Resource(resource))
	if kind != "namespaces" {
		objects = client.Resource(resource).Namespace(namespace)
	}
	list, err := objects.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, object := range list.Items {
		names = append(names, object.Name)
	}
	return names, nil
}
