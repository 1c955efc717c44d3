package podlife

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// fileMode is the mode of the files of a volume that has none.
const fileMode = 0o644

// volumeFile is a file of a volume.
type volumeFile struct {
	data []byte
	mode fs.FileMode
}

// volumeDir returns the directory of a volume of a Pod.
func (c *Controller) volumeDir(pod *objects.Pod, name string) string {
	return filepath.Join(c.podDir(pod), "volumes", name)
}

// rewriteVolumes writes the volumes of the Pods of a namespace again, because a ConfigMap or Secret has changed.
func (c *Controller) rewriteVolumes(tx store.Tx, namespace string) {
	if len(c.networks) == 0 {
		return
	}
	for obj := range tx.All(objects.Pods) {
		pod := obj.(*objects.Pod)
		if pod.Namespace != namespace || c.networks[pod.UID] == nil {
			continue
		}
		if err := c.writeVolumes(tx.View, pod); err != nil {
			c.cfg.Logger.Error("Writing the volumes of a Pod failed", "pod", pod.Name, "error", err)
		}
	}
}

// writeVolumes writes the volumes of a Pod. Volumes of other kinds than ConfigMaps, Secrets, the downward API and what
// projects them are directories of the Pod, empty at first.
func (c *Controller) writeVolumes(v store.View, pod *objects.Pod) error {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		dir := c.volumeDir(pod, volume.Name)
		err := os.MkdirAll(dir, 0o755)
		switch {
		case err != nil:
		case isWritten(pod, volume.Name):
			err = writeFiles(dir, filesOf(v, pod, volume))
		default:
			err = os.Chmod(dir, 0o777)
		}
		if err == nil && pod.Spec.SecurityContext != nil && pod.Spec.SecurityContext.FSGroup != nil {
			err = giveTo(dir, int(*pod.Spec.SecurityContext.FSGroup))
		}
		if err != nil {
			return fmt.Errorf("writing volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

// isWritten reports whether the files of a volume are those of objects. Containers cannot change them.
func isWritten(pod *objects.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == name && (v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil)
	})
}

// filesOf returns the files of a volume, by path. What is optional and does not exist has none.
func filesOf(v store.View, pod *objects.Pod, volume *corev1.Volume) map[string]volumeFile {
	files := map[string]volumeFile{}
	add := func(data map[string][]byte, items []corev1.KeyToPath, mode *int32) {
		maps.Copy(files, chosen(data, items, mode))
	}
	switch {
	case volume.ConfigMap != nil:
		from := volume.ConfigMap
		add(contentOf(v, objects.ConfigMaps, pod.Namespace, from.Name), from.Items, from.DefaultMode)
	case volume.Secret != nil:
		from := volume.Secret
		add(contentOf(v, objects.Secrets, pod.Namespace, from.SecretName), from.Items, from.DefaultMode)
	case volume.DownwardAPI != nil:
		maps.Copy(files, downward(pod, volume.DownwardAPI.Items, volume.DownwardAPI.DefaultMode))
	case volume.Projected != nil:
		mode := volume.Projected.DefaultMode
		for _, source := range volume.Projected.Sources {
			switch {
			case source.ConfigMap != nil:
				add(contentOf(v, objects.ConfigMaps, pod.Namespace, source.ConfigMap.Name), source.ConfigMap.Items, mode)
			case source.Secret != nil:
				add(contentOf(v, objects.Secrets, pod.Namespace, source.Secret.Name), source.Secret.Items, mode)
			case source.DownwardAPI != nil:
				maps.Copy(files, downward(pod, source.DownwardAPI.Items, mode))
			}
		}
	}
	return files
}

// contentOf returns the data of a ConfigMap or Secret, none if it does not exist.
func contentOf(v store.View, res *objects.Resource, namespace, name string) map[string][]byte {
	data := map[string][]byte{}
	switch obj := v.Get(res, types.NamespacedName{Namespace: namespace, Name: name}).(type) {
	case *objects.ConfigMap:
		for key, value := range obj.Data {
			data[key] = []byte(value)
		}
		maps.Copy(data, obj.BinaryData)
	case *objects.Secret:
		maps.Copy(data, obj.Data)
	}
	return data
}

// chosen returns the files of a ConfigMap or Secret: all keys, or those of the items.
func chosen(data map[string][]byte, items []corev1.KeyToPath, mode *int32) map[string]volumeFile {
	files := map[string]volumeFile{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = volumeFile{value, modeOf(mode)}
		}
	}
	for _, item := range items {
		if value, ok := data[item.Key]; ok {
			files[item.Path] = volumeFile{value, modeOf(item.Mode, mode)}
		}
	}
	return files
}

// modeOf returns the first mode that is set.
func modeOf(modes ...*int32) fs.FileMode {
	for _, mode := range modes {
		if mode != nil {
			return fs.FileMode(*mode)
		}
	}
	return fileMode
}

// downward returns files with metadata of a Pod.
func downward(pod *objects.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) map[string]volumeFile {
	files := map[string]volumeFile{}
	for _, item := range items {
		if item.FieldRef != nil {
			files[item.Path] = volumeFile{[]byte(metadata(pod, item.FieldRef.FieldPath)), modeOf(item.Mode, mode)}
		}
	}
	return files
}

// metadata returns the value of a field of a Pod's metadata, as the downward API shows it.
func metadata(pod *objects.Pod, path string) string {
	field, key, hasKey := strings.Cut(strings.TrimSuffix(path, "']"), "['")
	maps := map[string]map[string]string{"metadata.labels": pod.Labels, "metadata.annotations": pod.Annotations}
	switch {
	case hasKey:
		return maps[field][key]
	case maps[field] != nil:
		var lines []string
		for key, value := range maps[field] {
			lines = append(lines, fmt.Sprintf("%s=%q", key, value))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	return map[string]string{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "metadata.uid": string(pod.UID),
	}[field]
}

// writeFiles makes the files of a directory those given. Each is replaced at once, if it differs.
func writeFiles(dir string, files map[string]volumeFile) error {
	for name, file := range files {
		if err := writeFile(filepath.Join(dir, filepath.Clean("/"+name)), file); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if _, ok := files[name]; ok || err != nil {
			return err
		}
		return os.Remove(path)
	})
}

func writeFile(path string, file volumeFile) error {
	old, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(old, file.data):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".next"
	if err := os.WriteFile(next, file.data, file.mode); err != nil {
		return err
	}
	if err := os.Chmod(next, file.mode); err != nil { // The umask does not count.
		return err
	}
	return os.Rename(next, path)
}

// giveTo gives a volume to a group, which may do all that its owner may.
func giveTo(dir string, group int) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, group); err != nil {
			return err
		}
		owner := info.Mode().Perm() & 0o700
		mode := info.Mode().Perm() | owner>>3
		if entry.IsDir() {
			mode |= fs.ModeSetgid
		}
		return os.Chmod(path, mode)
	})
}
