package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// explained is what the story reads of the output of "kubectl spillway why -o json".
type explained struct {
	Items []struct {
		Pod, Place, Summary string
		Changes             []struct{ Effect, Command string }
	}
}

// playWhy asks where the Pods of a Deployment are and why, and runs the command that is said to change it.
func playWhy(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	text, err := w.spillway(ctx, "status")
	if err != nil {
		return err
	}
	w.printf("%s", strings.TrimRight(text, "\n"))
	if fields := strings.Fields(lineWith(text, "Deployment nginx-deployment")); len(fields) < 6 ||
		strings.Join(fields[2:6], " ") != "1 1 3 0" {
		return fmt.Errorf("kubectl spillway status printed %q: want quota 1, 1 local, 3 in the cloud, 0 waiting", text)
	}
	text, err = w.spillway(ctx, "why", "deployment", "nginx-deployment")
	if err != nil {
		return err
	}
	w.printf("%s", strings.TrimRight(text, "\n"))
	const want = "4 Pods: 1 on local nodes, 3 in the cloud, 0 waiting"
	if !strings.HasPrefix(text, want) {
		return fmt.Errorf("kubectl spillway why printed %q: want %q first", text, want)
	}
	if err := w.whyAsTenant(ctx, want); err != nil {
		return err
	}
	if text, err = w.spillway(ctx, "why", "deployment", "nginx-deployment", "-o", "json"); err != nil {
		return err
	}
	var answer explained
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("reading the output of kubectl spillway why: %w", err)
	}
	for _, pod := range answer.Items {
		if pod.Place != "Cloud" {
			continue
		}
		if len(pod.Changes) == 0 || pod.Changes[0].Command == "" {
			return fmt.Errorf("pod %s: want a command that keeps one more replica local", pod.Pod)
		}
		w.printf("$ %s", pod.Changes[0].Command)
		if err := w.shell(ctx, pod.Changes[0].Command); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "nginx", 2, 2)
	}
	return fmt.Errorf("kubectl spillway why named no Pod in the cloud: %s", text)
}

// whyAsTenant asks as a user who may read this namespace only. The answer is the same, and says what is not known.
func (w *World) whyAsTenant(ctx context.Context, want string) error {
	const account = "tenant"
	for _, command := range []string{
		fmt.Sprintf("kubectl -n %s create serviceaccount %s", w.Namespace, account),
		fmt.Sprintf("kubectl -n %s create rolebinding %s --clusterrole=view --serviceaccount=%s:%s", w.Namespace, account,
			w.Namespace, account),
	} {
		if err := w.shell(ctx, command); err != nil {
			return err
		}
	}
	text, err := w.spillway(ctx, "why", "deployment", "nginx-deployment",
		"--as", "system:serviceaccount:"+w.Namespace+":"+account)
	if err != nil {
		return err
	}
	w.printf("%s", strings.TrimRight(text, "\n"))
	if !strings.HasPrefix(text, want) {
		return fmt.Errorf("kubectl spillway why printed %q to a tenant: want %q first", text, want)
	}
	if text, err = w.spillway(ctx, "why", "deployment", "nginx-deployment", "-o", "yaml",
		"--as", "system:serviceaccount:"+w.Namespace+":"+account); err != nil {
		return err
	}
	if unknown := "the state and the labels of the virtual nodes"; !strings.Contains(text, unknown) {
		return fmt.Errorf("kubectl spillway why printed %q to a tenant: want that %s are not known", text, unknown)
	}
	return nil
}

// lineWith returns the first line that contains a text.
func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// spillway prints and runs a command of kubectl spillway.
func (w *World) spillway(ctx context.Context, args ...string) (string, error) {
	w.printf("$ kubectl spillway %s", strings.Join(args, " "))
	command := exec.CommandContext(ctx, filepath.Join(w.cluster.BinDir, "kubectl-spillway"), append([]string{
		"--kubeconfig", w.cluster.Kubeconfig, "--namespace", w.Namespace,
	}, args...)...)
	return output(command, "kubectl spillway "+strings.Join(args, " "))
}

// shell runs a command line as a user would paste it.
func (w *World) shell(ctx context.Context, line string) error {
	bin, err := filepath.Abs(w.cluster.BinDir)
	if err != nil {
		return fmt.Errorf("finding the directory of kubectl: %w", err)
	}
	command := exec.CommandContext(ctx, "sh", "-c", line)
	command.Env = append(os.Environ(), "KUBECONFIG="+w.cluster.Kubeconfig,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	_, err = output(command, line)
	return err
}
