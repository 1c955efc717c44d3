package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// edit replaces a text in a source file. If text is empty, it adds a file. The released program contains nothing of it.
type edit struct{ file, text, replacement string }

// build builds an extender of this module, with edits, in a directory, which it creates. A text that does not occur
// exactly once is an error, because the edit would have no effect. It blocks while it compiles.
func build(ctx context.Context, dir string, edits ...edit) (binary string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("creating the directory of an extender: %w", err)
	}
	overlay, err := writeOverlay(dir, root, edits)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(filepath.Dir(overlay), "extender")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, "-overlay", overlay, "./extender")
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building an extender: %w: %s", err, output)
	}
	return binary, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	file, err := goEnv(ctx, "GOMOD")
	return filepath.Dir(file), err
}

func goEnv(ctx context.Context, name string) (string, error) {
	value, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("reading %s from go env: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// writeOverlay writes the overlay file for the compiler. Paths of edits are relative to the root, or absolute.
func writeOverlay(dir, root string, edits []edit) (overlay string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("finding the directory of an extender: %w", err)
	}
	replace := map[string]string{}
	for i, e := range edits {
		file := e.file
		if !filepath.IsAbs(file) {
			file = filepath.Join(root, file)
		}
		content, err := e.apply(file)
		if err != nil {
			return "", err
		}
		replace[file] = filepath.Join(dir, fmt.Sprintf("edit%d.go", i))
		if err := os.WriteFile(replace[file], []byte(content), 0o600); err != nil {
			return "", fmt.Errorf("writing an edited file: %w", err)
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("encoding the overlay: %w", err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, content, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return overlay, nil
}

func (e edit) apply(file string) (content string, err error) {
	if e.text == "" {
		return e.replacement, nil
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the file to edit: %w", err)
	}
	if found := strings.Count(string(source), e.text); found != 1 {
		return "", fmt.Errorf("editing %s: it contains %q %d times: must be once", e.file, e.text, found)
	}
	return strings.Replace(string(source), e.text, e.replacement, 1), nil
}

// jumpingClock returns edits of Go's package time and of the extender. With each SIGUSR1 the extender's wall clock
// moves an hour ahead, and with each SIGUSR2 an hour back. The machine has one clock for the whole control plane, so
// only the clock within the extender can move.
func jumpingClock(ctx context.Context) ([]edit, error) {
	root, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return nil, err
	}
	now := "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	return []edit{
		{
			filepath.Join(root, "src", "time", "time.go"), now,
			"// Jump is how many seconds the wall clock is ahead.\nvar Jump int64\n\n" + now + "\tsec += Jump\n",
		},
		{filepath.Join("extender", "jump.go"), "", jumpFile},
	}, nil
}

const jumpFile = `package main

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func init() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range signals {
			seconds := int64(3600)
			if s == syscall.SIGUSR2 {
				seconds = -seconds
			}
			atomic.AddInt64(&time.Jump, seconds)
		}
	}()
}
`
