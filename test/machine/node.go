package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/test/system"
)

// node is a real node: its containerd, its kubelet, and the network of its Pods.
type node struct {
	name       string
	index      int
	dir        string // Contains all files of the node.
	binDir     string
	containerd *process
	kubelet    *process
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) socket() string { return "/run/" + n.name + "/containerd.sock" }

// startContainerd starts containerd and creates the network of the Pods.
func (n *node) startContainerd(ctx context.Context) error {
	bridgeName := fmt.Sprintf("pods-%d", n.index)
	if err := bridge(bridgeName, nodeAddress(n.index)+"/24"); err != nil {
		return err
	}
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [
  {"type": "bridge", "bridge": %q, "isGateway": true, "hairpinMode": true, "ipam": {
    "type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`,
		bridgeName, bridgeName, n.path("addresses"), podNetwork(n.index))
	err := errors.Join(writeFile(n.path("cni/network.conflist"), network),
		writeFile(n.path("containerd.toml"), n.containerdConfig()))
	if err != nil {
		return err
	}
	n.containerd, err = start(ctx, n.dir, "containerd", filepath.Join(n.binDir, "containerd"),
		"--config", n.path("containerd.toml"))
	if err != nil {
		return err
	}
	return n.containerd.await(ctx, func(ctx context.Context) error { return n.ctr(ctx, "version") })
}

// containerdConfig disables what containerd cannot do without CAP_SYS_RESOURCE. All its directories are in the
// directory of the node or below /run, which belongs to the namespace.
func (n *node) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = %[2]q

[grpc]
address = %[3]q

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
cni = {bin_dirs = [%[4]q], conf_dir = %[5]q}

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %[6]q

[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.internal.v1.opt']
path = %[7]q
`, n.path("containerd"), "/run/"+n.name+"/containerd", n.socket(), networkPlugins, n.path("cni"), PauseImage,
		n.path("opt"))
}

// networkPlugins is the directory of Debian's package containernetworking-plugins.
const networkPlugins = "/usr/lib/cni"

// startKubelet starts the kubelet, which registers the node.
func (n *node) startKubelet(ctx context.Context, s *system.System) error {
	group, err := createControlGroup(n.name)
	if err != nil {
		return err
	}
	if err := writeFile(n.path("kubelet.yaml"), n.kubeletConfig(group, s.AuthorityFile())); err != nil {
		return err
	}
	n.kubelet, err = start(ctx, n.dir, "kubelet", filepath.Join(n.binDir, "kubelet"),
		"--config", n.path("kubelet.yaml"), "--kubeconfig", s.UserKubeconfig(nodeUser(n.index)), "--root-dir",
		n.path("kubelet"),
		"--cert-dir", n.path("certificates"), "--hostname-override", n.name, "--node-ip", nodeAddress(n.index))
	return err
}

// kubeletConfig makes the kubelet listen on the node's address, use its own control group and ignore the disk of the
// machine.
func (n *node) kubeletConfig(group, authority string) string {
	return strings.NewReplacer("ADDRESS", nodeAddress(n.index), "GROUP", group, "AUTHORITY", authority,
		"SOCKET", n.socket(), "DIR", n.dir, "NAMESERVER", DNSAddress,
	).Replace(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ADDRESS
healthzBindAddress: ADDRESS
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: AUTHORITY}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: GROUP
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://SOCKET
podLogsDir: DIR/pods
volumePluginDir: DIR/volume-plugins
clusterDNS: [NAMESERVER]
clusterDomain: cluster.local
resolvConf: ""
evictionHard:
  memory.available: 100Mi
  nodefs.available: 0%
  imagefs.available: 0%
  nodefs.inodesFree: 0%
  imagefs.inodesFree: 0%
imageGCHighThresholdPercent: 100
syncFrequency: 5s # The delay until a changed Secret reaches its mounts.
serializeImagePulls: false
`)
}

// awaitReady returns when Pods can be placed on the node.
func (n *node) awaitReady(ctx context.Context, client kubernetes.Interface) error {
	return n.kubelet.await(ctx, func(ctx context.Context) error {
		found, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, taint := range found.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady {
				return fmt.Errorf("the node has the taint %s", taint.Key)
			}
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				if condition.Status == corev1.ConditionTrue {
					return nil
				}
				return errors.New(condition.Message)
			}
		}
		return errors.New("the node has no condition Ready")
	})
}

// checkParts reports everything that the machine lacks.
func checkParts(binDir string) error {
	var errs []error
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "kube-proxy", "coredns"} {
		if _, err := os.Stat(filepath.Join(binDir, name)); err != nil {
			errs = append(errs, fmt.Errorf("no %s in %s: run `make e2e-install`", name, binDir))
		}
	}
	for file, debian := range map[string]string{
		"/usr/sbin/runc": "runc", networkPlugins + "/bridge": "containernetworking-plugins", "/usr/sbin/nft": "nftables",
	} {
		if _, err := os.Stat(file); err != nil {
			errs = append(errs, fmt.Errorf("no %s: install Debian's package %s", file, debian))
		}
	}
	return errors.Join(errs...)
}
