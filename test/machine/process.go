package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// process is a running component of a node. It ends with its namespace.
type process struct {
	name, log string
	ended     chan struct{}
}

// start starts a binary and writes its output to its log.
func start(ctx context.Context, dir, name, binary string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "logs", name+".log"), ended: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return nil, fmt.Errorf("creating the directory of the logs: %w", err)
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("creating the log of %s: %w", name, err)
	}
	defer log.Close()
	command := exec.CommandContext(context.WithoutCancel(ctx), binary, args...)
	command.Stdout, command.Stderr = log, log
	// containerd finds its shim through PATH, and the shim finds runc. The process inherits no other variable of the
	// caller.
	command.Env = []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // The log shows how it ended.
	}()
	return p, nil
}

// timeout is how long a component may take to become ready on a busy machine.
const timeout = 3 * time.Minute

// await calls the check until it succeeds. It fails when the process ends, or after the timeout.
func (p *process) await(ctx context.Context, check func(context.Context) error) error {
	var wrong error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		if wrong = check(ctx); wrong == nil {
			return true, nil
		}
		select {
		case <-p.ended:
			return false, fmt.Errorf("the process has ended")
		default:
			return false, nil
		}
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; %w\nThe end of %s:\n%s", p.name, err, wrong, p.log, tail(p.log))
	}
	return nil
}

func tail(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
