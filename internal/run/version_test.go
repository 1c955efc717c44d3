package run

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The names of the two variables stand in the scripts that link programs, where no compiler sees them.
func TestTheLinkerSetsVersionAndCommit(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	const variables = "github.com/spillway-k8s/spillway/internal/run."
	build := exec.CommandContext(
		t.Context(),
		"go",
		"build",
		"-o",
		program,
		"-ldflags",
		"-X "+variables+"version=1.2.3 -X "+variables+"commit=abc",
		"./testdata/version",
	)
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	said, err := exec.CommandContext(t.Context(), program).Output()
	require.NoError(t, err)
	assert.Equal(
		t,
		"program 1.2.3 (commit abc, "+runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH+")\n",
		string(said),
	)
}
