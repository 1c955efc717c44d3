package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/system"
)

// script writes an executable.
func script(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
}

// binaries writes binaries that say what the real ones say. The end-to-end tests end with what is given.
func binaries(t *testing.T, version, tests string) options {
	t.Helper()
	bin := t.TempDir()
	control := system.KubernetesBinDir(bin, version)
	script(t, "echo Kubernetes v"+version+".4", control, system.APIServer)
	script(t, "echo etcd Version: 3.6.4", control, system.Etcd)
	for _, name := range []string{system.ControllerManager, system.Scheduler} {
		script(t, "", control, name)
	}
	for _, name := range []string{system.Extender, system.Admission, "vnode", system.CCISim} {
		script(t, "", bin, name)
	}
	script(t, `for flag; do case $flag in --figures=*) file=${flag#*=}; esac; done
echo '{"histories": 5, "pods": 40, "slots": 7, "cloudSlots": 3}' > "$file"
echo "All promises were kept."`, bin, "prove")
	script(t, "echo '--- PASS: TestStories (2.00s)'\necho '    --- PASS: TestStories/quota (1.00s)'\n"+
		"echo '--- PASS: TestBursts (1.00s)'\n"+tests, bin, "e2e.test")
	o := *defaultOptions()
	o.Versions, o.BinDir, o.Dir, o.Source = []string{version}, bin, t.TempDir(), t.TempDir()
	return o
}

func TestAVersionThatHasPassedIsNotRunAgain(t *testing.T) {
	o := binaries(t, "1.34", "echo ran >> runs")
	for range 2 {
		var out bytes.Buffer
		require.NoError(t, matrix(t.Context(), o, &out))
		assert.Contains(t, out.String(),
			"| v1.34.4 | v3.6.4 | 1 of 1 | 2 of 2 | 5 | 40 | 7 | 3 | 0 | "+differs["1.34"]+" |\n")
	}
	runs := filepath.Join(o.Source, "runs")
	content, err := os.ReadFile(runs)
	require.NoError(t, err)
	assert.Equal(t, "ran\n", string(content))

	script(t, "# Another program.", o.BinDir, system.Extender)
	require.NoError(t, matrix(t.Context(), o, &bytes.Buffer{}))
	content, err = os.ReadFile(runs)
	require.NoError(t, err)
	assert.Equal(t, "ran\nran\n", string(content), "another program is tested again")
}

func TestAFailureIsReportedAndTheRestIsRun(t *testing.T) {
	o := binaries(t, "1.34", "echo '    --- FAIL: TestStories/scale (1.00s)'; exit 1")
	o.Document = filepath.Join(t.TempDir(), "page.md")
	var out bytes.Buffer
	err := matrix(t.Context(), o, &out)
	require.ErrorContains(t, err,
		"version 1.34 of Kubernetes: TestStories/scale failed: running the tests, whose log is ")
	assert.Contains(t, out.String(), "| v1.34.4 | v3.6.4 | failed | failed | 5 | 40 | 7 | 3 | 0 |")
	assert.NoFileExists(t, o.Document)
}

func TestAMissingControlPlaneIsAnError(t *testing.T) {
	o := binaries(t, "1.34", "")
	require.NoError(t, os.Remove(filepath.Join(system.KubernetesBinDir(o.BinDir, "1.34"), system.Scheduler)))
	assert.ErrorContains(t, matrix(t.Context(), o, &bytes.Buffer{}), "run `make matrix`")
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	o := defaultOptions()
	o.Versions, o.Rounds = []string{"1.12"}, 0
	err := o.Validate()
	require.ErrorContains(t, err, `--versions: "1.12": must be of [1.37 1.36 1.35 1.34]`)
	require.ErrorContains(t, err, "--parallel and --rounds: 3 and 0: must be at least 1")
	assert.NoError(t, defaultOptions().Validate())
}

func TestOnlyTestsWithoutSubtestsAreCounted(t *testing.T) {
	var ended []test
	for _, line := range []string{
		"=== RUN   TestStories", "    --- PASS: TestStories/quota (3.20s)", "    --- SKIP: TestStories/scale (0.00s)",
		"--- PASS: TestStories (9.00s)", "--- PASS: TestFewerVirtualNodes (8.10s)",
		"--- FAIL: TestBurst (1.00s)", "FAIL",
	} {
		if found, ok := parseTest(line); ok {
			ended = append(ended, found)
		}
	}
	got, failed := count(ended)
	assert.Equal(t, outcome{Passed: 2, Stories: 2}, got)
	assert.Equal(t, []string{"TestStories/scale", "TestBurst"}, failed)
}

// What differs is said of each version.
func TestEachVersionHasANote(t *testing.T) {
	for _, version := range system.KubernetesVersions {
		assert.NotEmpty(t, differs[version], version)
	}
	assert.Len(t, differs, len(system.KubernetesVersions))
}
