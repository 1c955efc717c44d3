package run

import (
	"fmt"
	"runtime"
)

// version and commit are set by the linker, for images and releases: -X
// github.com/spillway-k8s/spillway/internal/run.version=0.1.0. The commit is not read from the build's own stamp: that
// is missing where the sources are no checkout, and differs where files lie beside them.
var version, commit = "devel", "unknown"

// Version says in one line what a program is: its name, its version, the commit that it was built from, and for what.
func Version(program string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)", program, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
