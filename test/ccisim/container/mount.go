package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// shared are the directories of this machine that containers have too, read-only.
var shared = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ssl", "/etc/alternatives",
}

// devices are the devices of a container.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// host is the directory of the machine's file system while that of the container is made.
const host = "/.host"

// rootSize bounds the file system of a container.
const rootSize = "64m"

// mount makes the file system of the container, and changes to it.
func (s Spec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separating the mounts of the container: %w", err)
	}
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", 0, "mode=0755,size="+rootSize); err != nil {
		return fmt.Errorf("mounting the file system of the container: %w", err)
	}
	if err := os.Mkdir(s.Root+host, 0o755); err != nil {
		return fmt.Errorf("creating the file system of the container: %w", err)
	}
	if err := unix.PivotRoot(s.Root, s.Root+host); err != nil {
		return fmt.Errorf("changing to the file system of the container: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("changing to the file system of the container: %w", err)
	}
	for _, step := range []func() error{
		makeDirs, mountShared, mountDevices, mountKernel, s.mountProgram, writeFiles, s.mountAll, s.seal,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// makeDirs creates the directories that programs expect.
func makeDirs() error {
	for dir, mode := range map[string]os.FileMode{
		"/tmp": 0o777 | os.ModeSticky, "/var/tmp": 0o777 | os.ModeSticky, "/dev/shm": 0o777 | os.ModeSticky,
		"/run": 0o755, "/var/log": 0o755, "/etc": 0o755, "/proc": 0o555, "/sys": 0o555, "/root": 0o700,
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("creating a directory of the container: %w", err)
		}
		if err := os.Chmod(dir, mode); err != nil { // The umask does not count.
			return fmt.Errorf("creating a directory of the container: %w", err)
		}
	}
	return os.Symlink("../run", "/var/run")
}

// mountShared mounts the programs of the machine.
func mountShared() error {
	for _, dir := range shared {
		info, err := os.Lstat(host + dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("finding the programs of the machine: %w", err)
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(host + dir)
			if err == nil {
				err = os.Symlink(to, dir)
			}
			if err != nil {
				return fmt.Errorf("linking %s: %w", dir, err)
			}
			continue
		}
		if err := (Mount{Source: dir, Target: dir, ReadOnly: true}).mount(); err != nil {
			return err
		}
	}
	return nil
}

func mountDevices() error {
	for _, name := range devices {
		if err := (Mount{Source: "/dev/" + name, Target: "/dev/" + name}).mount(); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink("/proc/self/"+to, "/dev/"+name); err != nil {
			return fmt.Errorf("linking a device: %w", err)
		}
	}
	return nil
}

// mountKernel mounts /proc and /sys. As in containers, settings of the kernel are read-only, also for root.
func mountKernel() error {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", flags|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
		err := unix.Mount(path, path, "", unix.MS_BIND, "")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("mounting %s: %w", path, err)
		}
		if err := readOnly(path, 0); err != nil {
			return err
		}
	}
	return nil
}

// mountProgram mounts the program that is the image.
func (s Spec) mountProgram() error {
	if s.Program == "" {
		return nil
	}
	const local = "/usr/local"
	if err := unix.Mount("tmpfs", local, "tmpfs", 0, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mounting %s: %w", local, err)
	}
	name := filepath.Base(s.Program)
	target := filepath.Join(local, "bin", name)
	if err := (Mount{Source: s.Program, Target: target, ReadOnly: true}).mount(); err != nil {
		return err
	}
	if err := os.Symlink(target, "/"+name); err != nil {
		return fmt.Errorf("linking the program: %w", err)
	}
	return nil
}

// writeFiles writes what resolvers of names and users read.
func writeFiles() error {
	for name, text := range map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/sh\nunprivileged:x:65534:65534::/:/bin/sh\n",
		"group":         "root:x:0:\nunprivileged:x:65534:\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := os.WriteFile("/etc/"+name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing a file of the container: %w", err)
		}
	}
	return nil
}

// mountAll mounts the volumes, those in others after these.
func (s Spec) mountAll() error {
	byTarget := func(a, b Mount) int { return strings.Compare(a.Target, b.Target) }
	for _, mount := range slices.SortedFunc(slices.Values(s.Mounts), byTarget) {
		if err := mount.mount(); err != nil {
			return err
		}
	}
	return nil
}

// seal removes the file system of the machine.
func (s Spec) seal() error {
	if err := unix.Unmount(host, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the file system of the machine: %w", err)
	}
	if err := os.Remove(host); err != nil {
		return fmt.Errorf("leaving the file system of the machine: %w", err)
	}
	if s.ReadOnly {
		return readOnly("/", 0)
	}
	return nil
}

// mount mounts a file or directory of the machine.
func (m Mount) mount() error {
	err := m.makeTarget()
	if err == nil {
		err = unix.Mount(host+m.Source, m.Target, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("mounting %s: %w", m.Target, err)
	}
	if m.ReadOnly {
		return readOnly(m.Target, unix.AT_RECURSIVE)
	}
	return nil
}

// makeTarget creates the file or directory on which the source is mounted.
func (m Mount) makeTarget() error {
	info, err := os.Stat(host + m.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(m.Target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(m.Target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(m.Target, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

func readOnly(path string, flags uint) error {
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &attributes); err != nil {
		return fmt.Errorf("making %s read-only: %w", path, err)
	}
	return nil
}
