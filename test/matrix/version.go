package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/test/system"
)

// result is what was found on one version of Kubernetes.
type result struct {
	// Tested identifies the binaries that were tested, and the options. A result of others does not count.
	Tested string `json:"tested"`
	// Kubernetes and Etcd are the releases of the control plane, such as v1.34.4.
	Kubernetes string `json:"kubernetes"`
	Etcd       string `json:"etcd"`
	// Tests is the outcome of the end-to-end tests. It is nil until they have passed.
	Tests *outcome `json:"tests,omitempty"`
	// Proof contains the figures of the proof. It is nil until no promise was broken.
	Proof *figures `json:"proof,omitempty"`
}

// outcome counts tests without subtests.
type outcome struct {
	Passed  int `json:"passed"`
	Stories int `json:"stories"`
}

// figures are those that prove writes with --figures.
type figures struct {
	Histories  int `json:"histories"`
	Pods       int `json:"pods"`
	Slots      int `json:"slots"`
	CloudSlots int `json:"cloudSlots"`
}

// runner tests one version of Kubernetes.
type runner struct {
	options
	version string
	out     io.Writer
	started time.Time
}

// run runs what has no result yet, and keeps each result at once.
func (r runner) run(ctx context.Context) (result, error) {
	tested, err := r.tested()
	if err != nil {
		return result{}, err
	}
	got, err := r.kept(tested)
	if err != nil {
		return result{}, err
	}
	if got.Kubernetes, err = r.release(ctx, system.APIServer); err != nil {
		return got, err
	}
	if got.Etcd, err = r.release(ctx, system.Etcd); err != nil {
		return got, err
	}
	// A failure of the tests says nothing about the proof, so both are run.
	if got.Tests == nil {
		tests, testsErr := r.tests(ctx)
		if testsErr == nil {
			got.Tests = &tests
		}
		err = errors.Join(testsErr, r.keep(got))
	} else {
		r.report("the end-to-end tests have passed before")
	}
	if ctx.Err() != nil {
		return got, ctx.Err()
	}
	if got.Proof == nil {
		proof, proofErr := r.proof(ctx)
		if proofErr == nil {
			got.Proof = &proof
		}
		err = errors.Join(err, proofErr, r.keep(got))
	} else {
		r.report("the proof has passed before")
	}
	return got, err
}

func (r runner) report(format string, values ...any) {
	fmt.Fprintf(r.out, "%s %6.0fs  %s\n", r.version, time.Since(r.started).Seconds(), fmt.Sprintf(format, values...))
}

// tested returns an identity of the binaries and the options.
func (r runner) tested() (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, r.Run, r.Rounds)
	control := system.KubernetesBinDir(r.BinDir, r.version)
	for _, file := range []string{
		filepath.Join(control, system.Etcd), filepath.Join(control, system.APIServer),
		filepath.Join(control, system.ControllerManager), filepath.Join(control, system.Scheduler),
		filepath.Join(r.BinDir, system.Extender), filepath.Join(r.BinDir, system.Admission),
		filepath.Join(r.BinDir, "vnode"), filepath.Join(r.BinDir, system.CCISim), filepath.Join(r.BinDir, "prove"),
		filepath.Join(r.BinDir, "e2e.test"),
	} {
		if err := addFile(hash, file); err != nil {
			return "", fmt.Errorf("%w: run `make matrix`", err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func addFile(hash io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading a binary: %w", err)
	}
	defer file.Close()
	if _, err := io.Copy(hash, file); err != nil {
		return fmt.Errorf("reading a binary: %w", err)
	}
	return nil
}

func (r runner) resultFile() string { return filepath.Join(r.Dir, r.version+".json") }

// kept returns the result of an earlier run, or an empty one if there is none of these binaries.
func (r runner) kept(tested string) (result, error) {
	content, err := os.ReadFile(r.resultFile())
	if errors.Is(err, os.ErrNotExist) {
		return result{Tested: tested}, nil
	}
	if err != nil {
		return result{}, fmt.Errorf("reading an earlier result: %w", err)
	}
	var got result
	if err := json.Unmarshal(content, &got); err != nil {
		return result{}, fmt.Errorf("reading an earlier result in %s: %w", r.resultFile(), err)
	}
	if got.Tested != tested {
		return result{Tested: tested}, nil
	}
	return got, nil
}

func (r runner) keep(got result) error {
	content, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding a result: %w", err)
	}
	if err := os.WriteFile(r.resultFile(), content, 0o644); err != nil {
		return fmt.Errorf("keeping a result: %w", err)
	}
	return nil
}

var releasePattern = regexp.MustCompile(`v?(\d+\.\d+\.\d+)`)

// release returns the release of a program of the control plane, such as v1.34.4.
func (r runner) release(ctx context.Context, program string) (string, error) {
	path := filepath.Join(system.KubernetesBinDir(r.BinDir, r.version), program)
	printed, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", program, err)
	}
	found := releasePattern.FindSubmatch(printed)
	if found == nil {
		return "", fmt.Errorf("asking %s for its version: it prints %q", program, printed)
	}
	return "v" + string(found[1]), nil
}

// tests runs the end-to-end tests. They report each that has ended.
func (r runner) tests(ctx context.Context) (outcome, error) {
	args := []string{
		"-test.v", "-test.timeout=60m", fmt.Sprintf("-test.parallel=%d", r.Parallel), "-kubernetes=" + r.version,
	}
	if r.Run != "" {
		args = append(args, "-test.run="+r.Run)
	}
	if r.version != system.KubernetesVersions[0] {
		args = append(args, "-test.skip="+ofTheNewest)
	}
	command := exec.CommandContext(ctx, filepath.Join(r.BinDir, "e2e.test"), args...)
	command.Dir = r.Source
	var ended []test
	err := r.stream(command, "tests", func(line string) {
		if t, ok := parseTest(line); ok {
			ended = append(ended, t)
			r.report("%s", strings.TrimSpace(line))
		}
	})
	got, failed := count(ended)
	if len(failed) > 0 {
		err = fmt.Errorf("%s failed: %w", strings.Join(failed, ", "), err)
	}
	return got, err
}

// ofTheNewest are the tests of what only the newest version has.
const ofTheNewest = "^TestSchedulingGroups$"

// proof runs random histories with faults.
func (r runner) proof(ctx context.Context) (figures, error) {
	path := filepath.Join(r.Dir, r.version+"-figures.json")
	command := exec.CommandContext(ctx, filepath.Join(r.BinDir, "prove"),
		"--kubernetes="+r.version, fmt.Sprintf("--rounds=%d", r.Rounds), "--bin-dir="+r.BinDir,
		"--dir="+filepath.Join(r.Dir, "prove"), "--record="+filepath.Join(r.Dir, r.version+".jsonl"), "--figures="+path)
	if err := r.stream(command, "proof", func(line string) {
		if strings.HasPrefix(line, "round ") || strings.HasPrefix(line, "Seed ") || strings.HasPrefix(line, "All ") {
			r.report("%s", line)
		}
	}); err != nil {
		return figures{}, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return figures{}, fmt.Errorf("reading the figures of the proof: %w", err)
	}
	var got figures
	if err := json.Unmarshal(content, &got); err != nil {
		return figures{}, fmt.Errorf("reading the figures of the proof in %s: %w", path, err)
	}
	return got, nil
}

// stream runs the command, writes what it prints to a log, and calls line for each line.
func (r runner) stream(command *exec.Cmd, name string, line func(string)) (err error) {
	path := filepath.Join(r.Dir, r.version+"-"+name+".log")
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating a log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	command.WaitDelay = time.Minute
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewReader(reader); ; {
			text, err := lines.ReadString('\n')
			_, _ = log.WriteString(text) // The outcome does not depend on the log.
			if err != nil {
				return
			}
			line(strings.TrimRight(text, "\n"))
		}
	}()
	r.report("%s: the log is %s", name, path)
	err = command.Run()
	_ = writer.Close()
	<-read
	if err != nil {
		return fmt.Errorf("running the %s, whose log is %s: %w", name, path, err)
	}
	return nil
}
