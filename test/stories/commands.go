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
	steps := []func(context.Context) error{w.runsCommands, w.followsLog, w.readsPreviousLog, w.cannotAttach}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runsCommands checks that a command gets its arguments and input, and that its output and exit code are returned.
func (w *World) runsCommands(ctx context.Context) error {
	w.printf(`$ kubectl exec shell -- printf '%%s|' 'a b' '$HOME'`)
	text, err := w.kubectl(ctx, "", "exec", "shell", "--", "printf", "%s|", "a b", "$HOME")
	if err != nil {
		return err
	}
	if text != "a b|$HOME|" {
		return fmt.Errorf("the command received the arguments %q: want them unchanged", text)
	}
	w.printf("  %s", text)
	w.printf(`$ echo hello | kubectl exec -i shell -- sh -c 'read word; echo "$word again"'`)
	if text, err = w.kubectl(ctx, "hello\n", "exec", "-i", "shell", "--", "sh", "-c",
		`read word; echo "$word again"`); err != nil {
		return err
	}
	if text != "hello again\n" {
		return fmt.Errorf("a command with the input hello printed %q", text)
	}
	w.printf("  %s", strings.TrimSpace(text))
	w.printf("$ kubectl exec shell -- sh -c 'exit 3'")
	_, err = w.kubectl(ctx, "", "exec", "shell", "--", "sh", "-c", "exit 3")
	if exited, ok := errors.AsType[*exec.ExitError](err); !ok || exited.ExitCode() != 3 {
		return fmt.Errorf("a command exited with 3 but kubectl reported: %w", err)
	}
	w.printf("  %s", lastLine(err.Error()))
	return nil
}

// followsLog reads log lines that are written after it has started.
func (w *World) followsLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w.printf("$ kubectl logs -f shell --tail=1")
	follow := exec.CommandContext(ctx, filepath.Join(w.cluster.BinDir, "kubectl"), "--kubeconfig", w.cluster.Kubeconfig,
		"--namespace", w.Namespace, "logs", "-f", "shell", "--tail=1")
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
			err = fmt.Errorf("line %d is followed by line %d", first, now)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("following the log of shell: %w", err), follow.Process.Kill())
		}
		w.printf("  %s", strings.TrimSpace(line))
		first = now
	}
	err = follow.Process.Kill()
	_ = follow.Wait() // It was killed.
	return err
}

// readsPreviousLog makes the container end and restart.
func (w *World) readsPreviousLog(ctx context.Context) error {
	w.printf("$ kubectl exec shell -- touch stop")
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
	w.printf("$ kubectl logs shell --previous --tail=1")
	text, err := w.kubectl(ctx, "", "logs", "shell", "--previous", "--tail=1")
	if err != nil {
		return err
	}
	if text != "last line\n" {
		return fmt.Errorf("the previous log ends with %q: want last line", text)
	}
	w.printf("  %s", strings.TrimSpace(text))
	return nil
}

func endedWith(ended *corev1.ContainerStateTerminated, code int32) bool {
	return ended != nil && ended.ExitCode == code
}

// cannotAttach checks the message about a feature that the cloud does not have.
func (w *World) cannotAttach(ctx context.Context) error {
	w.printf("$ kubectl attach shell")
	_, err := w.kubectl(ctx, "", "attach", "shell")
	if err == nil || !strings.Contains(err.Error(), "the cloud cannot attach") {
		return fmt.Errorf("kubectl attach should report that the cloud cannot attach, but reported: %w", err)
	}
	w.printf("  %s", lastLine(err.Error()))
	return nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
