package run

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version and commit are set by the linker for images and releases, such as with -X
// github.com/spillway-k8s/spillway/internal/run.version=0.1.0. The commit is not taken from the build information of
// Go, which is missing if the sources are not a checkout and says "modified" if there are untracked files.
var version, commit = "devel", "unknown"

// Version returns one line that describes a build: name of the program, version, commit, Go version and platform.
func Version(program string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)",
		program, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// kubernetesAPI is the module whose version says for which Kubernetes a program is built: v0.36.3 is that of v1.36.3.
const kubernetesAPI = "k8s.io/api"

// KubernetesVersion returns the version of Kubernetes whose API the program is built for, such as "v1.36.3". It comes
// from go.mod. A binary without build information has "v1".
func KubernetesVersion() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "v1"
	}
	return kubernetesVersion(build.Deps)
}

func kubernetesVersion(modules []*debug.Module) string {
	for _, module := range modules {
		if minor, ok := strings.CutPrefix(module.Version, "v0."); ok && module.Path == kubernetesAPI {
			return "v1." + minor
		}
	}
	return "v1"
}
