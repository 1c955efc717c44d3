package policy

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The cloud has no subPath of an emptyDir. But where every mount of a volume has one, the containers see directories
// that have nothing in common but the volume, and these can be volumes of their own.

// partialUse is how the containers of a Pod mount an emptyDir of which at least one mounts a part.
type partialUse struct {
	limited bool
	// part, whole and variable are the first containers that mount a directory of the volume, all of it, and a directory
	// whose path has variables. Empty if there is none.
	part, whole, variable string
	// directories are those that are mounted, each once, in the order of the containers.
	directories []string
	known       map[string]bool
}

// partialUses returns the emptyDirs of which at least one container mounts a part, by name.
func partialUses(spec *corev1.PodSpec) map[string]*partialUse {
	var uses map[string]*partialUse
	for c := range containers(spec) {
		for _, m := range c.VolumeMounts {
			if m.SubPath == "" && m.SubPathExpr == "" {
				continue
			}
			if uses == nil {
				uses = map[string]*partialUse{}
			}
			uses[m.Name] = nil
		}
	}
	if uses == nil {
		return nil
	}
	for _, v := range spec.Volumes {
		if _, ok := uses[v.Name]; ok && v.EmptyDir != nil {
			limit := v.EmptyDir.SizeLimit
			uses[v.Name] = &partialUse{known: map[string]bool{}, limited: limit != nil && !limit.IsZero()}
		}
	}
	for c := range containers(spec) {
		for _, m := range c.VolumeMounts {
			if use := uses[m.Name]; use != nil {
				use.add(c.Name, m)
			}
		}
	}
	return uses
}

func (u *partialUse) add(container string, m corev1.VolumeMount) {
	directory, inside := directoryOf(m)
	switch {
	case m.SubPathExpr != "":
		u.variable = cmp.Or(u.variable, container)
	case !inside:
		u.whole = cmp.Or(u.whole, container)
	default:
		u.part = cmp.Or(u.part, container)
		if !u.known[directory] {
			u.known[directory] = true
			u.directories = append(u.directories, directory)
		}
	}
}

// directoryOf returns the directory of its volume that a mount shows, and whether it is not all of the volume. The API
// server refuses paths that leave the volume.
func directoryOf(m corev1.VolumeMount) (directory string, inside bool) {
	directory = filepath.Clean(m.SubPath)
	return directory, filepath.IsLocal(directory) && directory != "."
}

// obstacle says why the directories cannot be volumes of their own, and what would be right. It is empty if they can.
func (u *partialUse) obstacle(volume string) string {
	switch {
	case u.variable != "":
		return fmt.Sprintf("container %s mounts emptyDir %s with a subPathExpr: use a subPath, or mount the whole volume",
			u.variable, volume)
	case u.whole != "" && u.part == "":
		return fmt.Sprintf("container %s mounts emptyDir %s with a subPath that is no directory in it: leave it out",
			u.whole, volume)
	case u.whole != "":
		return fmt.Sprintf("container %s mounts emptyDir %s with a subPath, and container %s mounts all of it: "+
			"use two volumes", u.part, volume, u.whole)
	case u.limited && len(u.directories) > 1:
		return fmt.Sprintf("emptyDir %s has a sizeLimit and is mounted with several subPaths: use a volume for each", volume)
	case u.nested():
		return fmt.Sprintf("emptyDir %s is mounted with a subPath and with one inside it: use two volumes", volume)
	}
	return ""
}

// nested reports whether one of the directories is inside another. If the separator sorts before all else, what is
// inside a directory follows it.
func (u *partialUse) nested() bool {
	sorted := make([]string, len(u.directories))
	for i, directory := range u.directories {
		sorted[i] = strings.ReplaceAll(directory, "/", "\x00") + "\x00"
	}
	slices.Sort(sorted)
	for i := range sorted[min(1, len(sorted)):] {
		if strings.HasPrefix(sorted[i+1], sorted[i]) {
			return true
		}
	}
	return false
}

func checkSubPath(s subject) []string {
	uses := partialUses(s.spec)
	var found []string
	for _, v := range s.spec.Volumes {
		if use := uses[v.Name]; use != nil {
			if message := use.obstacle(v.Name); message != "" {
				found = append(found, message)
			}
		}
	}
	return found
}

// SplitEmptyDirs makes each directory of an emptyDir that is mounted with a subPath an emptyDir of its own, because the
// cloud has no subPath of an emptyDir. For the containers nothing changes: the directories are apart from each other,
// empty at first, and live as long as the Pod. It changes the spec, except for volumes that the rule
// ReasonEmptyDirSubPath is about.
func SplitEmptyDirs(spec *corev1.PodSpec) {
	uses := partialUses(spec)
	if len(uses) == 0 {
		return
	}
	taken := map[string]bool{}
	for _, v := range spec.Volumes {
		taken[v.Name] = true
	}
	names := map[string]map[string]string{} // By volume and directory.
	var volumes []corev1.Volume
	number := 0
	for _, v := range spec.Volumes {
		volumes = append(volumes, v)
		use := uses[v.Name]
		if use == nil || use.obstacle(v.Name) != "" {
			continue
		}
		names[v.Name] = map[string]string{}
		for i, directory := range use.directories {
			if i == 0 {
				names[v.Name][directory] = v.Name
				continue
			}
			part := *v.DeepCopy()
			for taken[part.Name] {
				number++
				suffix := fmt.Sprintf("-%d", number)
				part.Name = v.Name[:min(len(v.Name), validation.DNS1123LabelMaxLength-len(suffix))] + suffix
			}
			taken[part.Name] = true
			names[v.Name][directory] = part.Name
			volumes = append(volumes, part)
		}
	}
	spec.Volumes = volumes
	for c := range containers(spec) {
		for i := range c.VolumeMounts {
			m := &c.VolumeMounts[i]
			if directory, inside := directoryOf(*m); inside {
				if name, ok := names[m.Name][directory]; ok {
					m.Name, m.SubPath = name, ""
				}
			}
		}
	}
}
