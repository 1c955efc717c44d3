package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// PauseImage is the image of the container that holds a Pod's namespaces. It must be among those of a Config.
const PauseImage = "localhost/pause:1"

// Image is an archive, an OCI layout or what `docker save` makes, with one image.
type Image struct {
	// Archive is the file.
	Archive string
	// Names are those that Pods use, with registry and tag. They need not be the archive's.
	Names []string
}

// WorkloadImage serves HTTP on port 80, and as perl it computes; it is among those that Built returns.
const WorkloadImage = "localhost/workload:1"

// Built are the images that `make e2e-install` builds into the directory of the parts: Spillway's, of the version that the chart installs, the
// cluster's own kube-scheduler, and what runs in tests.
func Built(partsDir, chart string) ([]Image, error) {
	version, err := AppVersion(chart)
	if err != nil {
		return nil, err
	}
	said, err := exec.CommandContext(context.Background(), filepath.Join(partsDir, "kube-scheduler"), "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking kube-scheduler for its version: %w", err)
	}
	kubernetes := strings.TrimPrefix(strings.TrimSpace(string(said)), "Kubernetes ")
	archive := func(name string) string { return filepath.Join(partsDir, "images", name+".tar") }
	images := []Image{
		{archive("pause"), []string{PauseImage, "registry.k8s.io/pause:3.10"}},
		{archive("workload"), []string{WorkloadImage}},
		{archive("kube-scheduler"), []string{"registry.k8s.io/kube-scheduler:" + kubernetes}},
	}
	for _, program := range []string{"extender", "admission", "vnode", "ccisim"} {
		images = append(images, Image{archive("spillway-" + program), []string{"ghcr.io/spillway-k8s/spillway-" + program + ":" + version}})
	}
	return images, nil
}

// AppVersion is the version of the programs that the chart in a directory installs.
func AppVersion(chart string) (string, error) {
	content, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return "", fmt.Errorf("reading a chart: %w", err)
	}
	var about struct {
		AppVersion string `json:"appVersion"`
	}
	if err := yaml.Unmarshal(content, &about); err != nil {
		return "", fmt.Errorf("reading the chart in %s: %w", chart, err)
	}
	return about.AppVersion, nil
}

// load puts images into the node's store.
func (n *node) load(ctx context.Context, images []Image) error {
	for _, image := range images {
		if err := n.ctr(ctx, "--namespace", "k8s.io", "images", "import", "--local", "--index-name", image.Names[0], image.Archive); err != nil {
			return err
		}
		for _, name := range image.Names[1:] {
			if err := n.ctr(ctx, "--namespace", "k8s.io", "images", "tag", "--force", image.Names[0], name); err != nil {
				return err
			}
		}
	}
	return nil
}

// ctr runs containerd's own client.
func (n *node) ctr(ctx context.Context, args ...string) error {
	args = append([]string{"--address", n.socket()}, args...)
	if output, err := exec.CommandContext(ctx, filepath.Join(n.binDir, "ctr"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, output)
	}
	return nil
}
