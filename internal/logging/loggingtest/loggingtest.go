// Package loggingtest checks what programs log: that each line is JSON, and that its keys are known and there once.
package loggingtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/logging"
)

// Check returns what is wrong with lines of JSON that a program has logged, nil if nothing is. Lines of libraries may
// have keys that are not in logging.Keys: others allows them.
func Check(lines []byte, others bool) error {
	var errs []error
	for line := range bytes.Lines(lines) {
		found, err := keysOf(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", line, err))
			continue
		}
		seen := map[string]bool{}
		for _, key := range found {
			switch {
			case seen[key]:
				errs = append(errs, fmt.Errorf("%q: the key %s is there twice", line, key))
			case !others && !isKnown(key):
				errs = append(errs, fmt.Errorf("%q: the key %s is not in logging.Keys", line, key))
			}
			seen[key] = true
		}
		for _, key := range ofEveryLine {
			if !seen[key] {
				errs = append(errs, fmt.Errorf("%q: the key %s is missing", line, key))
			}
		}
	}
	return errors.Join(errs...)
}

var ofEveryLine = []string{slog.TimeKey, slog.LevelKey, slog.MessageKey}

// failures keeps the lines with which something is wrong, and at most most of them.
type failures struct {
	mu   sync.Mutex
	kept [][]byte
}

const most = 20

func (f *failures) Write(line []byte) (int, error) {
	if Check(line, false) != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.kept) < most {
			f.kept = append(f.kept, bytes.Clone(line))
		}
	}
	return len(line), nil
}

func (f *failures) lines() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Join(f.kept, nil)
}

func isKnown(key string) bool {
	return slices.Contains(ofEveryLine, key) ||
		slices.ContainsFunc(logging.Keys(), func(k logging.Key) bool { return k.Name == key })
}

// keysOf returns the keys of a JSON object in their order, also if one is there twice.
func keysOf(line []byte) ([]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	var found []string
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprint(key))
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return found, err
}

// Handler returns a handler that checks each record, and passes it to another one. At the end of the test it fails for
// what it has found.
func Handler(t testing.TB, next slog.Handler) slog.Handler {
	found := &failures{}
	t.Cleanup(func() { assert.NoError(t, Check(found.lines(), false)) })
	checked := slog.NewJSONHandler(found, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.NewMultiHandler(checked, next)
}

// Run runs a program with --log-format=json until its output contains a text or it ends, and checks each line. It
// changes os.Stderr and the loggers of the process while it runs.
func Run(t testing.TB, program func(ctx context.Context, args []string) error, text string, args ...string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	before := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = before }()
	read := func() []byte {
		written, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		return written
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- program(ctx, append(args, "--log-format=json", "--log-level=debug")) }()
	deadline := time.Now().Add(time.Minute)
	for !bytes.Contains(read(), []byte(text)) && len(ended) == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	err = <-ended
	require.Contains(t, string(read()), text, "the program has ended with the error %v", err)
	require.NoError(t, Check(read(), true))
}

// Kubeconfig returns a file with the address of an API server that does not exist.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, []byte(`apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
`), 0o600))
	return file
}
