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

// PauseImage is the image of the container that holds a Pod's namespaces. Config.Images must contain it.
const PauseImage = "localhost/pause:1"

// Image is an archive with one image, in the format of an OCI layout or of `docker save`.
type Image struct {
	// Archive is the file.
	Archive string
	// Names are the names that Pods use, with registry and tag. They may differ from the name in the archive.
	Names []string
}

// WorkloadImage serves HTTP on port 80, and computes as perl. Built returns it among others.
const WorkloadImage = "localhost/workload:1"

// PeerImage is the program of test/services/peer. Built returns it among others.
const PeerImage = "localhost/peer:1"

// Built returns the images that `make e2e-install` builds into the directory of the parts: Spillway's, of the version
// that the chart installs, the cluster's kube-scheduler, and those of test workloads.
func Built(partsDir, chart string) ([]Image, error) {
	version, err := AppVersion(chart)
	if err != nil {
		return nil, err
	}
	output, err := exec.CommandContext(context.Background(), filepath.Join(partsDir, "kube-scheduler"),
		"--version").Output()
	if err != nil {
		return nil, fmt.Errorf("reading the version of kube-scheduler: %w", err)
	}
	kubernetes := strings.TrimPrefix(strings.TrimSpace(string(output)), "Kubernetes ")
	archive := func(name string) string { return filepath.Join(partsDir, "images", name+".tar") }
	images := []Image{
		{archive("pause"), []string{PauseImage, "registry.k8s.io/pause:3.10"}},
		{archive("workload"), []string{WorkloadImage}},
		{archive("peer"), []string{PeerImage}},
		{archive("kube-scheduler"), []string{"registry.k8s.io/kube-scheduler:" + kubernetes}},
	}
	for _, program := range []string{"extender", "admission", "vnode", "ccisim"} {
		name := "spillway-" + program
		images = append(images, Image{archive(name), []string{"ghcr.io/spillway-k8s/" + name + ":" + version}})
	}
	return images, nil
}

// AppVersion returns the version of the programs that the chart in a directory installs.
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

// load imports images into the node's store.
func (n *node) load(ctx context.Context, images []Image) error {
	for _, image := range images {
		arguments := []string{"images", "import", "--local", "--index-name", image.Names[0], image.Archive}
		if err := n.ctr(ctx, append([]string{"--namespace", "k8s.io"}, arguments...)...); err != nil {
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

// ctr runs containerd's client.
func (n *node) ctr(ctx context.Context, args ...string) error {
	args = append([]string{"--address", n.socket()}, args...)
	if output, err := exec.CommandContext(ctx, filepath.Join(n.binDir, "ctr"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, output)
	}
	return nil
}
