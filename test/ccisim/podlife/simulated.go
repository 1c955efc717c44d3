package podlife

import (
	"fmt"
	"io"
	"path"
	"strings"

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

// resolvConf returns the resolv.conf of a Pod.
func resolvConf(pod *objects.Pod) string {
	nameserver, searches := "100.125.1.250", []string(nil)
	if dns := pod.Spec.DNSConfig; dns != nil {
		if len(dns.Nameservers) > 0 {
			nameserver = dns.Nameservers[0]
		}
		searches = dns.Searches
	}
	text := "nameserver " + nameserver + "\n"
	if len(searches) > 0 {
		text += "search " + strings.Join(searches, " ") + "\n"
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
