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

// edit is a text in a source file, replaced, or where text is empty a file that is added. The program that ships has no switch for what an edit
// does.
type edit struct{ file, text, replacement string }

// build makes an extender in a directory, which is made, from this module, with edits. A text that is not there once is an error: the edit would
// be none. It blocks while it compiles.
func build(ctx context.Context, dir string, edits ...edit) (binary string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the directory of an extender: %w", err)
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
		return "", fmt.Errorf("asking go for its %s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// writeOverlay writes what tells the compiler of the edits, whose files are relative to the root or absolute.
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
			return "", fmt.Errorf("writing what was edited: %w", err)
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
		return "", fmt.Errorf("reading what is edited: %w", err)
	}
	if found := strings.Count(string(source), e.text); found != 1 {
		return "", fmt.Errorf("editing %s: it has %q %d times, not once", e.file, e.text, found)
	}
	return strings.Replace(string(source), e.text, e.replacement, 1), nil
}

// jumpingClock are edits of Go's own package time and of the extender: its wall clock goes an hour ahead with each SIGUSR1, and an hour back with
// each SIGUSR2. One machine has one clock, for the whole control plane, so it must be the clock inside the extender that is another.
func jumpingClock(ctx context.Context) ([]edit, error) {
	root, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return nil, err
	}
	now := "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	return []edit{
		{filepath.Join(root, "src", "time", "time.go"), now, "// Jump is how many seconds the wall clock is ahead.\nvar Jump int64\n\n" + now + "\tsec += Jump\n"},
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
