package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/spillway-k8s/spillway/cli/cluster"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/run"
)

// why is the command "why".
type why struct {
	*options
	files  resource.FilenameOptions
	output string
	reader *cluster.Reader
}

func (o *options) why() *cobra.Command {
	w := &why{options: o}
	command := &cobra.Command{
		Use:   "why (pod NAME | TYPE NAME | TYPE/NAME | -f FILE)",
		Short: "Where a Pod is and why, what would change it, and what it is billed as",
		Long: "Says where a Pod is and why, who holds the local slots of its revision, what would change it as\n" +
			"commands to paste, and the size that the cloud bills. For a workload it answers for each of its Pods.\n" +
			"For a file it answers for the Pods that would be created.",
		Example: "  kubectl spillway why pod cart-5d8c-x7x2p\n" +
			"  kubectl spillway why deployment cart\n" +
			"  kubectl spillway why -f cart.yaml\n" +
			"  kubectl spillway why pod cart-5d8c-x7x2p -o json",
		ValidArgsFunction: o.completeObject,
		RunE:              func(command *cobra.Command, args []string) error { return w.run(command.Context(), args) },
	}
	flags := command.Flags()
	flags.StringSliceVarP(&w.files.Filenames, "filename", "f", nil, "`file`, directory or URL with manifests")
	flags.BoolVarP(&w.files.Recursive, "recursive", "R", false, "read directories of --filename recursively")
	addOutput(command, &w.output)
	return command
}

func (w *why) run(ctx context.Context, args []string) error {
	render, err := renderer(w.output, answers.text)
	if err != nil {
		return err
	}
	if len(args) == 0 && len(w.files.Filenames) == 0 {
		return fmt.Errorf("%w: name a Pod or a workload, such as \"pod NAME\" or \"deployment NAME\", or a file "+
			"with -f", run.ErrUsage)
	}
	objects, err := w.objects(args, w.files)
	if err != nil {
		return err
	}
	if w.reader, err = w.newReader(ctx); err != nil {
		return err
	}
	var explanations []explain.Explanation
	for _, object := range objects {
		found, err := w.explain(ctx, object)
		if err != nil {
			return err
		}
		explanations = append(explanations, found...)
	}
	text, err := render(answers{explanations})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w.Out, text)
	return err
}

// objects returns the objects that the arguments name, or those in the files. Files are not looked up in the cluster.
func (o *options) objects(args []string, files resource.FilenameOptions) ([]*unstructured.Unstructured, error) {
	namespace, explicit, err := o.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the namespace of the kubeconfig: %w", err)
	}
	builder := resource.NewBuilder(o.flags).Unstructured().NamespaceParam(namespace).DefaultNamespace().Flatten()
	if len(files.Filenames) > 0 {
		if len(args) > 0 {
			return nil, fmt.Errorf("%w: name objects or files, not both", run.ErrUsage)
		}
		builder = builder.Local().FilenameParam(explicit, &files)
	} else {
		builder = builder.ResourceTypeOrNameArgs(false, args...)
	}
	infos, err := builder.Do().Infos()
	if err != nil {
		return nil, err // It names the object or the file.
	}
	objects := make([]*unstructured.Unstructured, 0, len(infos))
	for _, info := range infos {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(info.Object)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", info.ObjectName(), err)
		}
		object := &unstructured.Unstructured{Object: content}
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// explain answers for an object: a Pod, the Pods of a workload, or the Pod that it would create.
func (w *why) explain(ctx context.Context, object *unstructured.Unstructured) ([]explain.Explanation, error) {
	pods, err := w.podsOf(ctx, object)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		in, err := w.reader.InputOf(ctx, object)
		if err != nil {
			return nil, err
		}
		return []explain.Explanation{explain.Explain(in)}, nil
	}
	explanations := make([]explain.Explanation, 0, len(pods))
	for _, pod := range pods {
		in, err := w.reader.Input(ctx, pod)
		if err != nil {
			return nil, err
		}
		explanations = append(explanations, explain.Explain(in))
	}
	return explanations, nil
}

// podsOf returns the Pods of an object, none if it does not exist or has none.
func (w *why) podsOf(ctx context.Context, object *unstructured.Unstructured) ([]*corev1.Pod, error) {
	if len(w.files.Filenames) > 0 {
		return nil, nil
	}
	if !cluster.IsPod(object) {
		return w.reader.Pods(ctx, object.GetNamespace(), object.GetUID())
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err != nil {
		return nil, fmt.Errorf("reading Pod %s: %w", object.GetName(), err)
	}
	return []*corev1.Pod{pod}, nil
}

// answers are the explanations as programs read them.
type answers struct {
	Items []explain.Explanation `json:"items"`
}

func (a answers) text() string { return explain.Text(a.Items) }
