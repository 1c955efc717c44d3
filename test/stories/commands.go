package stories

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func playCommands(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "shell.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "shell", 0, 1); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.runsCommands, w.followsLog, w.readsLogOfRunBefore, w.cannotAttach} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runsCommands shows that arguments, input, output and exit codes are those of the command.
func (w *World) runsCommands(ctx context.Context) error {
	w.tell(`$ kubectl exec shell -- printf '%%s|' 'a b' '$HOME'`)
	text, err := w.kubectl(ctx, "", "exec", "shell", "--", "printf", "%s|", "a b", "$HOME")
	if err != nil {
		return err
	}
	if text != "a b|$HOME|" {
		return fmt.Errorf("the arguments arrived as %q, want them as they are", text)
	}
	w.tell("  %s", text)
	w.tell(`$ echo hello | kubectl exec -i shell -- sh -c 'read word; echo "$word again"'`)
	if text, err = w.kubectl(ctx, "hello\n", "exec", "-i", "shell", "--", "sh", "-c", `read word; echo "$word again"`); err != nil {
		return err
	}
	if text != "hello again\n" {
		return fmt.Errorf("a command that got hello printed %q", text)
	}
	w.tell("  %s", strings.TrimSpace(text))
	w.tell("$ kubectl exec shell -- sh -c 'exit 3'")
	_, err = w.kubectl(ctx, "", "exec", "shell", "--", "sh", "-c", "exit 3")
	if exited, ok := errors.AsType[*exec.ExitError](err); !ok || exited.ExitCode() != 3 {
		return fmt.Errorf("a command that ended with 3 gave: %w", err)
	}
	w.tell("  %s", lastLine(err.Error()))
	return nil
}

// followsLog reads what comes after it began to.
func (w *World) followsLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w.tell("$ kubectl logs -f shell --tail=1")
	follow := exec.CommandContext(ctx, filepath.Join(w.cluster.BinDir, "kubectl"), "--kubeconfig", w.cluster.Kubeconfig, "--namespace", w.Namespace, "logs", "-f", "shell", "--tail=1")
	out, err := follow.StdoutPipe()
	if err != nil {
		return fmt.Errorf("following the log: %w", err)
	}
	if err := follow.Start(); err != nil {
		return fmt.Errorf("following the log: %w", err)
	}
	lines := bufio.NewReader(out)
	var first, now int
	for range 3 {
		line, err := lines.ReadString('\n')
		if err == nil {
			_, err = fmt.Sscanf(line, "tick %d", &now)
		}
		if err == nil && first > 0 && now != first+1 {
			err = fmt.Errorf("after line %d came %d", first, now)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("following the log of shell: %w", err), follow.Process.Kill())
		}
		w.tell("  %s", strings.TrimSpace(line))
		first = now
	}
	err = follow.Process.Kill()
	_ = follow.Wait() // It was killed.
	return err
}

// readsLogOfRunBefore has the container end and start again.
func (w *World) readsLogOfRunBefore(ctx context.Context) error {
	w.tell("$ kubectl exec shell -- touch stop")
	if _, err := w.kubectl(ctx, "", "exec", "shell", "--", "touch", "stop"); err != nil {
		return err
	}
	err := w.await(ctx, "the container to run again", func(ctx context.Context) (bool, string, error) {
		pod, err := w.client.CoreV1().Pods(w.Namespace).Get(ctx, "shell", metav1.GetOptions{})
		if err != nil || len(pod.Status.ContainerStatuses) == 0 {
			return false, "", err
		}
		status := pod.Status.ContainerStatuses[0]
		ended := status.LastTerminationState.Terminated
		return status.State.Running != nil && endedWith(ended, 3), fmt.Sprintf("%+v", status), nil
	})
	if err != nil {
		return err
	}
	w.tell("$ kubectl logs shell --previous --tail=1")
	text, err := w.kubectl(ctx, "", "logs", "shell", "--previous", "--tail=1")
	if err != nil {
		return err
	}
	if text != "last words\n" {
		return fmt.Errorf("the log of the run before ends with %q, want last words", text)
	}
	w.tell("  %s", strings.TrimSpace(text))
	return nil
}

func endedWith(ended *corev1.ContainerStateTerminated, code int32) bool {
	return ended != nil && ended.ExitCode == code
}

// cannotAttach shows the words for what the cloud lacks.
func (w *World) cannotAttach(ctx context.Context) error {
	w.tell("$ kubectl attach shell")
	_, err := w.kubectl(ctx, "", "attach", "shell")
	if err == nil || !strings.Contains(err.Error(), "the cloud cannot attach") {
		return fmt.Errorf("kubectl attach should say that the cloud cannot, and said: %w", err)
	}
	w.tell("  %s", lastLine(err.Error()))
	return nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
