package krew

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

var archives = flag.String("archives", "", "directory of build.sh with all platforms; by default the test builds one")

// manifest is what the tests read of a manifest.
type manifest struct {
	Spec struct {
		Version   string
		Platforms []platform
	}
}

type platform struct {
	Selector struct {
		MatchLabels struct{ OS, Arch string }
	}
	URI, Bin string
}

func (p platform) String() string {
	return p.Selector.MatchLabels.OS + "/" + p.Selector.MatchLabels.Arch
}

func (p platform) archive() string { return filepath.Base(p.URI) }

const host = runtime.GOOS + "/" + runtime.GOARCH

// build returns a directory with a manifest and its archives, and the manifest.
func build(t *testing.T) (dir string, m manifest) {
	t.Helper()
	if dir = *archives; dir == "" {
		dir = t.TempDir()
		command := exec.CommandContext(t.Context(), "./build.sh", dir, "1.2.3")
		command.Env = append(os.Environ(), "PLATFORMS="+host)
		out, err := command.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	content, err := os.ReadFile(filepath.Join(dir, "spillway.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &m))
	return dir, m
}

// tool runs a program of Krew.
func tool(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"tool", "-modfile=../../test/tools/go.mod"}, args...)
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Env = append(os.Environ(), env...)
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestKrewInstallsThePluginFromItsManifest(t *testing.T) {
	dir, m := build(t)
	file := filepath.Join(dir, "spillway.yaml")
	out, err := tool(t, nil, "validate-krew-manifest", "-manifest", file, "-skip-install")
	require.NoError(t, err, out)
	want := []string{host}
	if *archives != "" {
		want = []string{
			"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64",
		}
	}
	var got []string
	for _, p := range m.Spec.Platforms {
		got = append(got, p.String())
	}
	require.Equal(t, want, got)
	for _, p := range m.Spec.Platforms {
		t.Run(p.String(), func(t *testing.T) {
			root := t.TempDir()
			install := func(archive string) (string, error) {
				return tool(t, []string{
					"KREW_ROOT=" + root, "KREW_OS=" + p.Selector.MatchLabels.OS, "KREW_NO_UPGRADE_CHECK=1",
					"KREW_ARCH=" + p.Selector.MatchLabels.Arch,
				}, "krew", "install", "--manifest", file, "--archive", archive)
			}
			content, err := os.ReadFile(filepath.Join(dir, p.archive()))
			require.NoError(t, err)
			changed := filepath.Join(t.TempDir(), p.archive())
			require.NoError(t, os.WriteFile(changed, append(content, 0), 0o600))
			out, err := install(changed)
			require.Error(t, err)
			require.Contains(t, out, "checksum does not match")
			out, err = install(filepath.Join(dir, p.archive()))
			require.NoError(t, err, out)
			store := filepath.Join(root, "store", "spillway", m.Spec.Version)
			for _, name := range []string{"LICENSE", "kubectl_complete-spillway", p.Bin} {
				assert.FileExists(t, filepath.Join(store, name))
			}
			if p.String() == host {
				run(t, root, store, m.Spec.Version)
			}
		})
	}
}

// run runs what Krew has installed.
func run(t *testing.T, root, store, version string) {
	t.Helper()
	bin := filepath.Join(root, "bin")
	output := func(program string, args ...string) string {
		command := exec.CommandContext(t.Context(), program, args...)
		command.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		out, err := command.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	plugin := filepath.Join(bin, "kubectl-spillway")
	assert.Contains(t, output(plugin, "version", "--client"), "kubectl-spillway "+strings.TrimPrefix(version, "v"))
	assert.Contains(t, output(plugin, "--help"), "kubectl spillway")
	// kubectl calls this for completions.
	assert.Contains(t, output(filepath.Join(store, "kubectl_complete-spillway"), "w"), "why\t")
}
