package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	controlGroupMount = "/sys/fs/cgroup"
	// controlGroup is the parent of the control groups of all nodes, at the root of each hierarchy.
	controlGroup = "spillway-machine"
)

// hierarchies returns the mount points of control groups: one with version 2, one per controller with version 1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(controlGroupMount, "cgroup.controllers")); err == nil {
		return []string{controlGroupMount}, nil
	}
	found, err := filepath.Glob(controlGroupMount + "/*/cgroup.procs")
	if err == nil && len(found) == 0 {
		err = errors.New("none is there")
	}
	if err != nil {
		return nil, fmt.Errorf("finding control groups below %s: %w", controlGroupMount, err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found, nil
}

// createControlGroup creates the control group of a node in all hierarchies, because its kubelet does not, and returns
// its name.
func createControlGroup(node string) (string, error) {
	roots, err := hierarchies()
	if err != nil {
		return "", err
	}
	for _, root := range roots {
		for dir := range parents(root, filepath.Join(controlGroup, node)) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return "", fmt.Errorf("creating a control group: %w", err)
			}
			if err := inherit(dir); err != nil {
				return "", err
			}
		}
	}
	return "/" + filepath.Join(controlGroup, node), nil
}

// parents yields the directories on the path from root (exclusive) to root/path.
func parents(root, path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(path, "/") {
			root = filepath.Join(root, part)
			if !yield(root) {
				return
			}
		}
	}
}

// inherit copies settings of the parent to a control group: processors with version 1, controllers with version 2.
func inherit(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if value, err := os.ReadFile(filepath.Join(dir, name)); err == nil && strings.TrimSpace(string(value)) == "" {
			if value, err = os.ReadFile(filepath.Join(filepath.Dir(dir), name)); err == nil {
				err = os.WriteFile(filepath.Join(dir, name), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("copying processors and memory to %s: %w", dir, err)
			}
		}
	}
	if filepath.Dir(dir) == controlGroupMount { // Version 2.
		controllers, err := os.ReadFile(filepath.Join(controlGroupMount, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("reading the controllers: %w", err)
		}
		all := []byte("+" + strings.Join(strings.Fields(string(controllers)), " +"))
		for _, parent := range []string{controlGroupMount, dir} {
			if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), all, 0o644); err != nil {
				return fmt.Errorf("enabling controllers: %w", err)
			}
		}
	}
	return nil
}

// removeControlGroups removes the groups without processes. Another machine may use the others.
func removeControlGroups() {
	roots, err := hierarchies()
	if err != nil {
		return
	}
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, controlGroup), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			_ = os.Remove(dir)
		}
	}
}
