package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/vnode/app"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// candidate is one virtual node for which this process is a candidate.
type candidate struct {
	config *config.Config
	build  func(*config.Config, app.Guard) (virtualNode, error)
	leader leaderelection.Leader
	// only says that the process has no other node. preferred says that it takes part in the election at once.
	only, preferred bool
	logger          *slog.Logger

	mu sync.Mutex
	// running is the virtual node while this process runs it, nil otherwise.
	running virtualNode
	// holder is who holds the Lease as far as this process knows.
	holder string
	// failure is why the last term failed, nil once a later one is ready. failures counts those in a row.
	failure  error
	failures int
	// terms counts the terms of this process. wasReady says that the node was ready in one of them.
	terms    int
	wasReady bool
	// ending is when the end of the term began while the virtual node still runs, zero otherwise.
	ending time.Time
}

// run takes part in the election until ctx ends. It returns an error only if the only node of the process fails before
// it was ready for the first time: then the configuration, or a right of the program, is wrong. Any other failure is
// retried, because it must not stop the other nodes.
func (n *candidate) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := n.leader.Run(ctx, n.term)
		if err == nil || ctx.Err() != nil {
			return err
		}
		delay, fatal := n.failed(err)
		if fatal {
			return err
		}
		if !pause(ctx, delay) {
			return nil
		}
	}
	return nil
}

// term runs the virtual node until ctx ends, which is the end of the term at the latest.
func (n *candidate) term(ctx context.Context, term *leaderelection.Term) error {
	node, err := n.build(n.config, term)
	if err != nil {
		return err
	}
	n.begin(node)
	defer n.end()
	defer context.AfterFunc(ctx, n.noteEnding)()
	return node.Run(ctx)
}

func (n *candidate) begin(node virtualNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = node
	n.terms++
}

func (n *candidate) noteEnding() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ending = time.Now()
}

func (n *candidate) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.noteReadyLocked()
	n.running, n.ending = nil, time.Time{}
}

// failed notes the error of a term and logs it once. It returns how long this process does not take part in the
// election, and whether the process must end.
func (n *candidate) failed(err error) (delay time.Duration, fatal bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.only && !n.wasReady {
		return 0, true
	}
	if n.failure == nil || n.failure.Error() != err.Error() {
		n.logger.Error("the virtual node has failed, will retry", "err", err)
	}
	n.failure = err
	delay = min(minBackoff<<min(n.failures, 10), maxBackoff)
	n.failures++
	return delay, false
}

// noteReadyLocked notes that the running virtual node is ready, if it is, and returns why it is not.
func (n *candidate) noteReadyLocked() error {
	if n.running == nil {
		return errors.New("it does not run here")
	}
	err := n.running.Ready()
	if err == nil {
		n.wasReady, n.failure, n.failures = true, nil, 0
	}
	return err
}

// observed implements leaderelection.Leader.Observed.
func (n *candidate) observed(holder string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holder = holder
}

// state describes the node in the view of this process. err is why the process is not ready for it: a process is ready
// for a node that it runs, and for one that another process holds.
func (n *candidate) state() (text string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := n.config.Node.Name
	switch {
	case n.running != nil:
		if err := n.noteReadyLocked(); err != nil {
			return "", fmt.Errorf("node %s runs here and is not ready: %w", name, err)
		}
		return fmt.Sprintf("node %s runs here", name), nil
	case n.failure != nil:
		return "", fmt.Errorf("node %s has failed here and is tried again: %w", name, n.failure)
	case n.holder == "" || n.holder == n.leader.Identity:
		return "", fmt.Errorf("node %s is not elected: see Lease %s in namespace %s",
			name, n.leader.Name, n.leader.Namespace)
	}
	return fmt.Sprintf("node %s runs in %s, this process is its standby", name, n.holder), nil
}

// hangs returns an error if the end of a term takes too long.
func (n *candidate) hangs() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ending.IsZero() || time.Since(n.ending) < teardownLimit {
		return nil
	}
	return fmt.Errorf("node %s has not stopped since %s", n.config.Node.Name, n.ending.Format(time.RFC3339))
}

// current returns the virtual node while it runs here, nil otherwise.
func (n *candidate) current() virtualNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// counts returns 1 if the node runs here, and how many terms this process has had.
func (n *candidate) counts() (running, terms float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		running = 1
	}
	return running, float64(n.terms)
}
