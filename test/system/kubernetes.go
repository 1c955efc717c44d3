package system

import (
	"path/filepath"
	"slices"
)

// newestKubernetes is the version of the control plane that `make build` builds into BinDir. Its module is that of
// test/cluster.
const newestKubernetes = "1.37"

// KubernetesVersions are the versions that a control plane can have, the newest first. The module of each but the
// newest is a directory of its version in test/cluster.
var KubernetesVersions = []string{newestKubernetes, "1.36", "1.35", "1.34"}

// KubernetesBinDir returns the directory with the control plane of a version, and kubectl. binDir is that of the
// newest.
func KubernetesBinDir(binDir, version string) string {
	if version == "" || version == newestKubernetes {
		return binDir
	}
	return filepath.Join(binDir, "k8s-"+version)
}

// ofKubernetes are the programs that each version of Kubernetes has of its own.
func ofKubernetes(program string) bool {
	return slices.Contains([]string{Etcd, APIServer, ControllerManager, Scheduler}, program)
}
