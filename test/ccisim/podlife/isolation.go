package podlife

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/container"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// containerPath is the PATH of containers with a file system of their own.
const containerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// isIsolated reports whether processes have the network of their Pod and a file system of their own.
func (c *Controller) isIsolated() bool { return c.cfg.VPC != nil }

// programOf returns the program of this machine that an image stands for, empty if it stands for none. A name without a
// tag stands for all tags.
func (c *Controller) programOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	return cmp.Or(c.cfg.Images[image], c.cfg.Images[name])
}

// argumentsOf returns the command of a container, which its image has if the container has none.
func (c *Controller) argumentsOf(spec *corev1.Container) []string {
	command := spec.Command
	if program := c.programOf(spec.Image); len(command) == 0 && program != "" {
		command = []string{"/" + filepath.Base(program)}
	}
	return append(append([]string{}, command...), spec.Args...)
}

// enclose returns how to start the first process of a container in its own file system and in the network of its Pod.
func (c *Controller) enclose(
	tx store.Tx, pod *objects.Pod, spec *corev1.Container, run *exec.Cmd,
) (*container.Launch, error) {
	rights, err := c.rightsOf(pod, spec)
	if err != nil {
		return nil, err
	}
	network, err := c.networkOf(tx, pod)
	if err != nil {
		return nil, err
	}
	if err := c.writeVolumes(tx.View, pod); err != nil {
		return nil, err
	}
	mounts, err := c.mountsOf(pod, spec)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(c.podDir(pod), "roots", spec.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("creating the file system of a container: %w", err)
	}
	of := spec.SecurityContext
	return container.Prepare(run, container.Spec{
		Root: root, Program: c.programOf(spec.Image), Mounts: mounts, Hostname: hostname(pod), Rights: rights,
		ReadOnly: of != nil && of.ReadOnlyRootFilesystem != nil && *of.ReadOnlyRootFilesystem,
	}, network)
}

// rightsOf returns the rights of the processes of a container: those of its securityContext, unless that has no effect.
func (c *Controller) rightsOf(pod *objects.Pod, spec *corev1.Container) (container.Rights, error) {
	rights := container.Rights{Dir: cmp.Or(spec.WorkingDir, "/")}
	if objects.IsProcessImage(spec.Image) {
		rights.User, rights.Group = unprivileged, unprivileged
	}
	pods, own := pod.Spec.SecurityContext, spec.SecurityContext
	if c.cfg.Faults.Policies().IgnoreSecurityContext {
		pods, own = nil, nil
	}
	set := func(uid, gid *int64) {
		if uid != nil {
			rights.User, rights.Group = int(*uid), 0 // The group that the image has for a user without an entry.
		}
		if gid != nil {
			rights.Group = int(*gid)
		}
	}
	var add, drop []string
	if pods != nil {
		set(pods.RunAsUser, pods.RunAsGroup)
		for _, group := range pods.SupplementalGroups {
			rights.Groups = append(rights.Groups, int(group))
		}
		if pods.FSGroup != nil {
			rights.Groups = append(rights.Groups, int(*pods.FSGroup))
		}
	}
	if own != nil {
		set(own.RunAsUser, own.RunAsGroup)
		if own.Capabilities != nil {
			add, drop = names(own.Capabilities.Add), names(own.Capabilities.Drop)
		}
	}
	var err error
	rights.Capabilities, err = container.Capabilities(add, drop)
	return rights, err
}

func names(capabilities []corev1.Capability) []string {
	var all []string
	for _, name := range capabilities {
		all = append(all, string(name))
	}
	return all
}

// networkOf returns the network namespace of a Pod, and creates it for the first process.
func (c *Controller) networkOf(_ store.Tx, pod *objects.Pod) (*os.File, error) {
	if network := c.networks[pod.UID]; network != nil {
		return network, nil
	}
	address, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return nil, fmt.Errorf("parsing the address of a Pod: %w", err)
	}
	network, err := c.cfg.VPC.Attach(address)
	if err != nil {
		return nil, err
	}
	c.networks[pod.UID] = network
	return network, nil
}

// closeNetwork gives up the network namespace of a Pod, if it has one. It is removed with the last process.
func (c *Controller) closeNetwork(_ store.Tx, pod *objects.Pod) {
	if network := c.networks[pod.UID]; network != nil {
		delete(c.networks, pod.UID)
		_ = network.Close() // It was open for reading.
	}
}

// closeNetworks gives up all network namespaces.
func (c *Controller) closeNetworks() {
	c.store.Update(func(tx store.Tx) {
		for pod, network := range c.networks {
			delete(c.networks, pod)
			_ = network.Close() // It was open for reading.
		}
	})
}

// mountsOf returns what is mounted in a container: its volumes, and the files that resolve names.
func (c *Controller) mountsOf(pod *objects.Pod, spec *corev1.Container) ([]container.Mount, error) {
	var mounts []container.Mount
	for name, text := range map[string]string{"hosts": hostsFile(pod), "resolv.conf": resolvConf(pod)} {
		file := filepath.Join(c.podDir(pod), name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("writing %s of a Pod: %w", name, err)
		}
		mounts = append(mounts, container.Mount{Source: file, Target: "/etc/" + name})
	}
	for _, mount := range spec.VolumeMounts {
		if mount.SubPathExpr != "" {
			return nil, fmt.Errorf("volume %s has a subPathExpr, which the simulated cloud does not mount", mount.Name)
		}
		mounts = append(mounts, container.Mount{
			Source: filepath.Join(c.volumeDir(pod, mount.Name), filepath.Clean("/"+mount.SubPath)),
			Target: path.Clean("/" + mount.MountPath), ReadOnly: mount.ReadOnly || isWritten(pod, mount.Name),
		})
	}
	return mounts, nil
}

// hostname returns the host name of a Pod, as the kubelet chooses it.
func hostname(pod *objects.Pod) string {
	const most = 63
	name := pod.Name[:min(len(pod.Name), most)]
	return cmp.Or(pod.Spec.Hostname, strings.TrimRight(name, "-."))
}

// hostsFile returns the hosts of a Pod.
func hostsFile(pod *objects.Pod) string {
	text := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	text += pod.Status.PodIP + "\t" + hostname(pod) + "\n"
	for _, alias := range pod.Spec.HostAliases {
		text += alias.IP + "\t" + strings.Join(alias.Hostnames, "\t") + "\n"
	}
	return text
}
