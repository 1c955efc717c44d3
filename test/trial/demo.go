package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// demo plays all stories on its own system, next to one that may be running, and then removes the system.
func demo(
	ctx context.Context, dir, binDir, kubernetes string, topology system.Topology, out io.Writer,
) (err error) {
	started := time.Now()
	config := system.Config{
		Dir: filepath.Join(dir, "demo"), BinDir: binDir, Shape: stories.Shape(), DieWithParent: true, Progress: out,
	}
	config.Shape.Kubernetes, config.Shape.Topology = kubernetes, topology
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return fmt.Errorf("creating the directory of the demonstration: %w", err)
	}
	// A demonstration that was killed has left its state. Each begins with a new system.
	if err := errors.Join(system.Stop(ctx, config.Dir), system.Remove(config.Dir)); err != nil {
		return err
	}
	fmt.Fprintf(out, "Starting a trial system of %s\n", config.Shape)
	running, err := system.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		stopping := context.WithoutCancel(ctx)
		err = errors.Join(err, system.Stop(stopping, config.Dir), system.Remove(config.Dir))
	}()
	world := stories.NewWorld(running, system.KubernetesBinDir(binDir, kubernetes), out)
	for _, story := range stories.All() {
		if err := world.Play(ctx, story); err != nil {
			return fmt.Errorf("a story failed: %w; logs are in %s", err, filepath.Join(config.Dir, "logs"))
		}
	}
	fmt.Fprintf(out, "\nAll %d stories succeeded, in %.0f s:\n", len(stories.All()), time.Since(started).Seconds())
	for _, story := range stories.All() {
		fmt.Fprintf(out, "  ok  %s\n", story.Title)
	}
	return nil
}
