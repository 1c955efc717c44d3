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

// process is a part of a node that runs. It ends with the namespace that it is in.
type process struct {
	name, log string
	ended     chan struct{}
}

// start runs a binary, its output written to a log of its own.
func start(ctx context.Context, dir, name, binary string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "logs", name+".log"), ended: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of the logs: %w", err)
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}
	defer log.Close()
	command := exec.CommandContext(context.WithoutCancel(ctx), binary, args...)
	command.Stdout, command.Stderr = log, log
	// containerd finds its shim, and that runc, by the path. Nothing else of the caller's environment comes along.
	command.Env = []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // How it ended is in its log.
	}()
	return p, nil
}

// patience is how long a part may take to become ready on a busy machine.
const patience = 3 * time.Minute

// await returns when the check finds nothing wrong, and gives up when the process ends or patience does.
func (p *process) await(ctx context.Context, check func(context.Context) error) error {
	var wrong error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if wrong = check(ctx); wrong == nil {
			return true, nil
		}
		select {
		case <-p.ended:
			return false, fmt.Errorf("it has ended")
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
