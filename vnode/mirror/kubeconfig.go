package mirror

import (
	"crypto/sha256"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

// way is how a kubeconfig leads to one server: a digest of its address, its authority and the token.
type way [sha256.Size]byte

// waysOf returns the ways of a kubeconfig, that of the current context first. It returns none if it cannot be read.
func waysOf(content []byte) []way {
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(config.Contexts))
	if i := slices.Index(names, config.CurrentContext); i > 0 {
		names[0], names[i] = names[i], names[0]
	}
	var ways []way
	for _, name := range names {
		ways = append(ways, wayOf(config, config.Contexts[name]))
	}
	return ways
}

func wayOf(config *clientcmdapi.Config, context *clientcmdapi.Context) way {
	hash := sha256.New()
	if cluster := config.Clusters[context.Cluster]; cluster != nil {
		hash.Write([]byte(cluster.Server + "\n"))
		hash.Write(cluster.CertificateAuthorityData)
	}
	if user := config.AuthInfos[context.AuthInfo]; user != nil {
		hash.Write([]byte(user.Token))
	}
	return way(hash.Sum(nil))
}

// isCutOff reports whether the kubeconfig in a copy does not lead to the server to which a new one would lead first:
// vnode has another address, or other keys. A sidecar would then keep old endpoints until the kubeconfig is renewed.
func (m *Mirrors) isCutOff(e *entry, pod *corev1.Pod) bool {
	if m.config.Kubeconfig == nil || !e.keys[identity.KubeconfigKey] {
		return false
	}
	content, err := m.config.Kubeconfig(pod)
	if err != nil {
		return false // It is not known yet.
	}
	digest := sha256.Sum256(content)
	if digest == e.compared {
		return false
	}
	if ways := waysOf(content); len(ways) > 0 && !slices.Contains(e.ways, ways[0]) {
		return true
	}
	e.compared = digest
	return false
}
