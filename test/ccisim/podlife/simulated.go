package podlife

import (
	"fmt"
	"io"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// simulate runs a command in a container without a process: "id -u" shows the user of its security context, and "cat"
// its resolv.conf and what it mounts of ConfigMaps and Secrets. It returns false if it does not know the command.
func (e *Execution) simulate(command []string, out io.Writer) bool {
	text, ok := "", false
	switch {
	case len(command) == 2 && command[0] == "id" && command[1] == "-u":
		text, ok = fmt.Sprintf("%d\n", e.c.userOf(e.pod, e.container).Uid), true
	case len(command) == 2 && command[0] == "cat" && command[1] == "/etc/resolv.conf":
		text, ok = resolvConf(e.pod), true
	case len(command) == 2 && command[0] == "cat":
		e.c.store.View(func(v store.View) { text, ok = mounted(v, e.pod, e.container, command[1]) })
	}
	_, _ = io.WriteString(out, text) // The client may have closed the connection.
	return ok
}

// cloudDNS is the name server of Pods that name none.
const cloudDNS = "100.125.1.250"

// resolvConf returns the resolv.conf of a Pod.
func resolvConf(pod *objects.Pod) string {
	config := corev1.PodDNSConfig{}
	if pod.Spec.DNSConfig != nil {
		config = *pod.Spec.DNSConfig
	}
	if len(config.Nameservers) == 0 {
		config.Nameservers = []string{cloudDNS}
	}
	text := ""
	for _, server := range config.Nameservers {
		text += "nameserver " + server + "\n"
	}
	if len(config.Searches) > 0 {
		text += "search " + strings.Join(config.Searches, " ") + "\n"
	}
	for _, option := range config.Options {
		text += "options " + option.Name
		if option.Value != nil {
			text += ":" + *option.Value
		}
		text += "\n"
	}
	return text
}

// mounted returns the content of a file of a ConfigMap or Secret that a container mounts.
func mounted(v store.View, pod *objects.Pod, name, file string) (string, bool) {
	for _, container := range objects.AllContainers(pod) {
		for _, mount := range container.VolumeMounts {
			if container.Name != name || path.Dir(file) != path.Clean(mount.MountPath) {
				continue
			}
			text, ok := volumeData(v, pod, mount.Name)[path.Base(file)]
			return text, ok
		}
	}
	return "", false
}

// volumeData returns the files of a volume of a ConfigMap or Secret.
func volumeData(v store.View, pod *objects.Pod, name string) map[string]string {
	for _, volume := range pod.Spec.Volumes {
		switch {
		case volume.Name != name:
		case volume.ConfigMap != nil:
			return dataOf(v, objects.ConfigMaps, pod.Namespace, volume.ConfigMap.Name)
		case volume.Secret != nil:
			return dataOf(v, objects.Secrets, pod.Namespace, volume.Secret.SecretName)
		}
	}
	return nil
}
