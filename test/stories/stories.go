// Package stories plays what Spillway promises on a running trial system, with kubectl as a user would: the demonstration prints them, and
// the end-to-end tests run them. A story returns an error that says what was expected and what was there.
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

// patience is how long a condition may take to hold: far more than it needs, on a machine that is busy.
const patience = 90 * time.Second

// Story is one promise, played from beginning to end. It leaves nothing behind.
type Story struct {
	// Name is a word for test names.
	Name string
	// Title is the promise.
	Title string
	// Play plays it in a world of its own namespace.
	Play func(ctx context.Context, w *World) error
}

// All lists the stories in the order in which they are best told. They need Shape.
func All() []Story {
	return []Story{
		{"quota", "LOCAL_REPLICAS: \"1\" on a Deployment of 4: one replica stays home, three run in the cloud", playQuota},
		{"scale", "Scaling in takes cloud replicas first, and the local one remains", playScale},
		{"rollout", "A rolling update ends with exactly one local replica again", playRollout},
		{"hostpath", "A Deployment with hostPath volumes runs in the cloud, its volumes replaced", playHostPath},
		{"overflow", "Local nodes are full: with the switch off Pods wait with a reason, with the switch on they burst", playOverflow},
		{"switches", "The nine rows of the switch table, with a Pod that no local node can hold", playSwitches},
		{"kinds", "A Job and a StatefulSet burst; a DaemonSet and a Pod of kube-system never do", playKinds},
		{"namespace", "A namespace with the label virtual-node-affinity-injection=enabled runs in the cloud, spread over its virtual nodes", playNamespace},
		{"logs", "kubectl logs shows what a cloud Pod prints, and only to those who may read it", playLogs},
		{"commands", "kubectl exec, logs -f and logs --previous work on a cloud Pod that is a real process, and attach says why it does not", playCommands},
	}
}

// Shape is what the stories are played on: three local nodes of 4 CPU, and two virtual ones.
func Shape() system.Shape {
	shape := system.DefaultShape()
	shape.VirtualNodes = 2
	return shape
}

// storyPrefix begins the names of the stories' namespaces.
const storyPrefix = "story-"

// Cluster is where stories are played.
type Cluster struct {
	// Client and Kubeconfig have the rights of the administrator.
	Client     kubernetes.Interface
	Kubeconfig string
	// BinDir has kubectl.
	BinDir string
	// Cloud is the simulated cloud that the virtual nodes use.
	Cloud system.Cloud
	// Programs are Spillway's, by the names that a trial system has for them. Stories of outages need them.
	Programs Programs
	// Edit changes manifests before they are applied; nil leaves them as they are.
	Edit func(manifest string) string
}

// Programs can be ended and started, as those of a trial system.
type Programs interface {
	Kill(name string) error
	Restart(ctx context.Context, name string) error
}

// World is a cluster that stories are played on.
type World struct {
	cluster Cluster
	client  kubernetes.Interface
	out     io.Writer
	// Namespace is the story's own; it is gone when the story ends.
	Namespace string
}

// NewWorld makes a World on a running trial system, telling to out.
func NewWorld(s *system.System, binDir string, out io.Writer) *World {
	return NewWorldOn(Cluster{Client: s.Client(), Kubeconfig: s.Kubeconfig(), BinDir: binDir, Cloud: s.Cloud(), Programs: s}, out)
}

// NewWorldOn makes a World on a cluster, telling to out.
func NewWorldOn(cluster Cluster, out io.Writer) *World {
	if cluster.Edit == nil {
		cluster.Edit = func(manifest string) string { return manifest }
	}
	return &World{cluster: cluster, client: cluster.Client, out: out, Namespace: "default"}
}

// Play plays one story in a namespace that is made for it. After it the story's Pods are gone; the namespace follows (AwaitGone).
func (w *World) Play(ctx context.Context, story Story) (err error) {
	w.tell("\n=== %s", story.Title)
	own := *w
	own.Namespace = storyPrefix + story.Name
	if _, err := own.kubectl(ctx, "", "create", "namespace", own.Namespace); err != nil {
		return err
	}
	if err := own.await(ctx, "the default ServiceAccount of "+own.Namespace, own.hasServiceAccount); err != nil {
		return err
	}
	if err := story.Play(ctx, &own); err != nil {
		own.tellPods(ctx)
		return fmt.Errorf("%s: %w", story.Name, err)
	}
	return own.leave(ctx)
}

// makers are the kinds that make Pods, each before what it makes, and Pods.
const makers = "cronjobs,deployments,statefulsets,daemonsets,jobs,replicasets,pods"

// leave deletes the namespace and returns when its Pods are gone: the next story has the room. Kubernetes itself waits five seconds before
// it begins to empty a namespace.
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

// AwaitGone returns when nothing is left of any story.
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

func (w *World) tell(format string, values ...any) { _, _ = fmt.Fprintf(w.out, format+"\n", values...) }

// run tells a kubectl command and runs it.
func (w *World) run(ctx context.Context, args ...string) error {
	w.tell("$ kubectl %s", strings.Join(args, " "))
	_, err := w.kubectl(ctx, "", args...)
	return err
}

// apply tells and applies one of the manifests, into the story's namespace unless the manifest names another.
func (w *World) apply(ctx context.Context, name string) error {
	content, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return fmt.Errorf("reading manifest %s: %w", name, err)
	}
	w.tell("$ kubectl apply -f test/stories/manifests/%s", name)
	text := strings.Replace(string(content), "\n  namespace: default\n", "\n", 1)
	_, err = w.kubectl(ctx, strings.ReplaceAll(text, "NAMESPACE", w.Namespace), "apply", "-f", "-")
	return err
}

// applyObject applies what is made for one part of a story.
func (w *World) applyObject(ctx context.Context, object any) error {
	manifest, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("encoding a manifest: %w", err)
	}
	_, err = w.kubectl(ctx, string(manifest), "apply", "-f", "-")
	return err
}

// Apply applies a manifest and returns all that kubectl prints, also where the manifest is refused.
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
	command := w.command(ctx, stdin, args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (w *World) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig", w.cluster.Kubeconfig, "--namespace", w.Namespace}, args...)
	command := exec.CommandContext(ctx, filepath.Join(w.cluster.BinDir, "kubectl"), args...)
	command.Stdin = strings.NewReader(w.cluster.Edit(stdin))
	return command
}

// await blocks until check holds. check says in words what it sees, which is told when the time is over.
func (w *World) await(ctx context.Context, what string, check func(context.Context) (bool, string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
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
