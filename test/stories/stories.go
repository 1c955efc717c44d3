// Package stories plays what Spillway promises on a running trial system, with kubectl, as a user does. The
// demonstration prints the stories, and the end-to-end tests run them. The error of a story says what was expected and
// what was found.
package stories

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/test/system"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// timeout is how long a condition may take to become true on a busy machine. Usually it takes much less.
const timeout = 90 * time.Second

// Story is one promise, played from beginning to end. It leaves nothing behind.
type Story struct {
	// Name is one word, for the names of tests.
	Name string
	// Title is the promise.
	Title string
	// Play plays the story in its own namespace.
	Play func(ctx context.Context, w *World) error
}

// All lists the stories in the order of the demonstration. They need Shape.
func All() []Story {
	return []Story{
		{
			"quota", "LOCAL_REPLICAS: \"1\" on a Deployment of 4: one replica stays local, three run in the cloud",
			playQuota,
		},
		{
			"why", "kubectl spillway says why each Pod is where it is, and the command that it prints changes it",
			playWhy,
		},
		{"scale", "Scaling in removes cloud replicas first, and the local replica remains", playScale},
		{"rollout", "A rolling update ends with exactly one local replica again", playRollout},
		{
			"percent", "LOCAL_REPLICAS: \"30%\" is exact while a workload scales up and down and rolls out",
			playPercent,
		},
		{
			"wait-node",
			"With spillway.io/burst-after Pods wait for a node that was cordoned for a moment, and do not burst",
			playWaitNode,
		},
		{"hostpath", "A Deployment with hostPath volumes runs in the cloud, its volumes replaced", playHostPath},
		{
			"overflow",
			"Local nodes are full: Pods wait with a reason while the switch is off, and burst when it is turned on",
			playOverflow,
		},
		{"switches", "The nine rows of the switch table, with a Pod that fits on no local node", playSwitches},
		{"kinds", "A Job and a StatefulSet burst; a DaemonSet and a Pod in kube-system never do", playKinds},
		{
			"namespace",
			"The Pods of a namespace labeled virtual-node-affinity-injection=enabled run in the cloud, on several " +
				"virtual nodes",
			playNamespace,
		},
		{"logs", "kubectl logs shows the log of a cloud Pod, and only to authorized users", playLogs},
		{
			"commands",
			"kubectl exec, logs -f and logs --previous work on a cloud Pod, and attach reports why it does not",
			playCommands,
		},
	}
}

// Shape returns the nodes that the stories need: three local nodes of 4 CPU, and two virtual nodes.
func Shape() system.Shape {
	shape := system.DefaultShape()
	shape.VirtualNodes = 2
	return shape
}

// storyPrefix is the prefix of the names of the stories' namespaces.
const storyPrefix = "story-"

// Cluster describes the cluster on which stories are played.
type Cluster struct {
	// Client and Kubeconfig have the permissions of the administrator.
	Client     kubernetes.Interface
	Kubeconfig string
	// BinDir contains kubectl.
	BinDir string
	// Cloud is the simulated cloud that the virtual nodes use.
	Cloud system.Cloud
	// WithoutTokens says that tokens of ServiceAccounts are not copied to the cloud.
	WithoutTokens bool
	// Extender is the URL of the extender over plain HTTP. PlayExplain needs it.
	Extender string
	// Programs controls Spillway's programs, by their names in a trial system. Stories about outages need it.
	Programs Programs
	// Edit changes manifests before they are applied. It may be nil.
	Edit func(manifest string) string
}

// Programs ends and starts programs, as a trial system does.
type Programs interface {
	Kill(name string) error
	Restart(ctx context.Context, name string) error
}

// World is a cluster on which stories are played.
type World struct {
	cluster Cluster
	client  kubernetes.Interface
	out     io.Writer
	// Namespace is the story's own namespace. It is deleted at the end of the story.
	Namespace string
}

// NewWorld returns a World on a running trial system. It prints to out.
func NewWorld(s *system.System, binDir string, out io.Writer) *World {
	cluster := Cluster{
		Client: s.Client(), Kubeconfig: s.Kubeconfig(), BinDir: binDir, Cloud: s.Cloud(), Programs: s,
		Extender: s.ServiceEndpoint(system.Extender),
	}
	return NewWorldOn(cluster, out)
}

// NewWorldOn returns a World on a cluster. It prints to out.
func NewWorldOn(cluster Cluster, out io.Writer) *World {
	if cluster.Edit == nil {
		cluster.Edit = func(manifest string) string { return manifest }
	}
	return &World{cluster: cluster, client: cluster.Client, out: out, Namespace: "default"}
}

// Play plays one story in its own namespace. When it returns, the story's Pods are deleted, also after a failure, so
// that the next story has the capacity. The namespace is deleted later (AwaitGone).
func (w *World) Play(ctx context.Context, story Story) (err error) {
	w.printf("\n=== %s", story.Title)
	own := *w
	own.Namespace = storyPrefix + story.Name
	if _, err := own.kubectl(ctx, "", "create", "namespace", own.Namespace); err != nil {
		return err
	}
	if err := own.await(ctx, "the default ServiceAccount of "+own.Namespace, own.hasServiceAccount); err != nil {
		return err
	}
	if err := story.Play(ctx, &own); err != nil {
		own.printPods(ctx)
		return errors.Join(fmt.Errorf("%s: %w", story.Name, err), own.leave(ctx))
	}
	return own.leave(ctx)
}

// makers are the kinds that create Pods, each before the kinds that it creates, and Pods.
const makers = "cronjobs,replicationcontrollers,deployments,statefulsets,daemonsets,jobs,replicasets,pods"

// leave deletes the namespace and returns when its Pods are deleted. It deletes the objects itself because Kubernetes
// waits five seconds before it begins to empty a namespace.
func (w *World) leave(ctx context.Context) error {
	if _, err := w.kubectl(ctx, "", "delete", makers, "--all", "--wait=false"); err != nil {
		return err
	}
	if _, err := w.kubectl(ctx, "", "delete", "namespace", w.Namespace, "--wait=false"); err != nil {
		return err
	}
	return w.await(ctx, "the Pods of "+w.Namespace+" to be gone", func(ctx context.Context) (bool, string, error) {
		list, err := w.client.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", fmt.Errorf("listing the pods of %s: %w", w.Namespace, err)
		}
		return len(list.Items) == 0, fmt.Sprintf("%d are left", len(list.Items)), nil
	})
}

// AwaitGone returns when the namespaces of all stories are deleted.
func (w *World) AwaitGone(ctx context.Context) error {
	return w.await(ctx, "the namespaces of the stories to be gone", func(ctx context.Context) (bool, string, error) {
		list, err := w.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", fmt.Errorf("listing namespaces: %w", err)
		}
		var left []string
		for _, namespace := range list.Items {
			if strings.HasPrefix(namespace.Name, storyPrefix) {
				left = append(left, namespace.Name)
			}
		}
		return len(left) == 0, strings.Join(left, ", "), nil
	})
}

func (w *World) printf(format string, values ...any) {
	_, _ = fmt.Fprintf(w.out, format+"\n", values...)
}

// run prints and runs a kubectl command.
func (w *World) run(ctx context.Context, args ...string) error {
	w.printf("$ kubectl %s", strings.Join(args, " "))
	_, err := w.kubectl(ctx, "", args...)
	return err
}

// apply prints the name of a manifest and applies it to the story's namespace, unless the manifest names another.
func (w *World) apply(ctx context.Context, name string) error {
	content, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return fmt.Errorf("reading manifest %s: %w", name, err)
	}
	w.printf("$ kubectl apply -f test/stories/manifests/%s", name)
	text := strings.Replace(string(content), "\n  namespace: default\n", "\n", 1)
	_, err = w.kubectl(ctx, strings.ReplaceAll(text, "NAMESPACE", w.Namespace), "apply", "-f", "-")
	return err
}

// applyObject applies an object.
func (w *World) applyObject(ctx context.Context, object any) error {
	manifest, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("encoding a manifest: %w", err)
	}
	_, err = w.kubectl(ctx, string(manifest), "apply", "-f", "-")
	return err
}

// Apply applies a manifest and returns the output of kubectl, even if the API server refuses the manifest.
func (w *World) Apply(ctx context.Context, manifest string) (string, error) {
	command := w.command(ctx, manifest, "apply", "-f", "-")
	printed, err := command.CombinedOutput()
	var refused *exec.ExitError
	if err != nil && !errors.As(err, &refused) {
		return "", fmt.Errorf("running kubectl apply: %w", err)
	}
	return string(printed), nil
}

// kubectl runs kubectl as the administrator.
func (w *World) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return output(w.command(ctx, stdin, args...), "kubectl "+strings.Join(args, " "))
}

// output runs a command and returns what it prints. Its error contains what the command says about it.
func output(command *exec.Cmd, name string) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (w *World) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig", w.cluster.Kubeconfig, "--namespace", w.Namespace}, args...)
	command := exec.CommandContext(ctx, filepath.Join(w.cluster.BinDir, "kubectl"), args...)
	command.Stdin = strings.NewReader(w.cluster.Edit(stdin))
	return command
}

// await calls check until it returns true. The string that check returns describes what it found. The error after the
// timeout contains it.
func (w *World) await(ctx context.Context, what string, check func(context.Context) (bool, string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not within %s", timeout))
	defer cancel()
	var seen string
	for {
		ok, now, err := check(ctx)
		if ok {
			return nil
		}
		if now != "" {
			seen = now
		}
		if err != nil && ctx.Err() == nil {
			seen = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last seen: %s", what, context.Cause(ctx), seen)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
