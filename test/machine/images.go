package machine

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
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
