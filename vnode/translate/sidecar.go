package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// What the sidecar has in the cloud Pod besides itself.
const (
	// servicesVolume is the Secret with its kubeconfig, servicesPath where it is mounted.
	servicesVolume = "spillway-services"
	servicesPath   = "/var/run/secrets/spillway.io/services"
	// dnsPort is the port on which the sidecar of mode proxy answers.
	dnsPort = 53
	// apiPort is the port of the Service of the API server. lastAPIPort is the one that the sidecar of mode proxy uses in
	// its place if a container listens on it, or else the next lower one: beyond the ports that kernels give to
	// connections, and where hardly a program listens.
	apiPort     = 443
	lastAPIPort = 64443
)

// addSidecar adds the sidecar that carries connections to Services. It starts before all other containers and ends
// after them. It has no requests and no limits, so the size of the Pod stays the same.
func (b *builder) addSidecar(spec *cci.PodSpec) {
	var sidecar cci.Container
	switch b.mode {
	case policy.ServicesProxy:
		sidecar = b.proxy()
	case policy.ServicesKubeProxy:
		sidecar = b.kubeProxy()
	default:
		return
	}
	sidecar.Name, sidecar.ImagePullPolicy = policy.ServicesContainer, corev1.PullIfNotPresent
	sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	// The first list of Services of a large cluster takes some seconds. After five minutes without success the cloud
	// restarts the container.
	sidecar.StartupProbe.PeriodSeconds, sidecar.StartupProbe.TimeoutSeconds = 1, 5
	sidecar.StartupProbe.FailureThreshold = 300
	sidecar.SecurityContext.RunAsUser, sidecar.SecurityContext.RunAsGroup = new(int64), new(int64)
	sidecar.SecurityContext.RunAsNonRoot = new(false)
	sidecar.SecurityContext.ReadOnlyRootFilesystem = new(true)
	sidecar.VolumeMounts = []cci.VolumeMount{{Name: servicesVolume, MountPath: servicesPath, ReadOnly: true}}
	spec.InitContainers = append(spec.InitContainers, sidecar)
	spec.Volumes = append(spec.Volumes, cci.Volume{Name: servicesVolume, Secret: &corev1.SecretVolumeSource{
		SecretName:  b.translator.config.Owner.MirrorName(identity.TokenMirror(b.pod)),
		Items:       []corev1.KeyToPath{{Key: identity.KubeconfigKey, Path: identity.KubeconfigKey}},
		DefaultMode: new(int32(0o400)),
	}})
}

// proxy returns what is special of the sidecar of mode proxy (directory proxy).
func (b *builder) proxy() cci.Container {
	c := b.translator.config
	args := []string{
		"--kubeconfig=" + servicesPath + "/" + identity.KubeconfigKey, "--node=" + c.Owner.Node,
		"--cluster-domain=" + c.ClusterDomain,
		"--nameservers=" + strings.Join(b.nameservers, ","), "--server-service=" + c.Services.Server,
	}
	if c.Zone != "" {
		args = append(args, "--zone="+c.Zone)
	}
	if len(b.reserved) > 0 {
		texts := make([]string, len(b.reserved))
		for i, port := range b.reserved {
			texts[i] = strconv.Itoa(int(port))
		}
		args = append(args, "--reserved-ports="+strings.Join(texts, ","))
	}
	if port := b.apiServerPort(); port != apiPort && c.APIServer == "" {
		args = append(args, "--api-server-port="+strconv.Itoa(int(port)))
	}
	return cci.Container{
		Image: b.translator.image(c.Services.ProxyImage), Args: args,
		StartupProbe: &cci.Probe{Exec: &corev1.ExecAction{Command: []string{"/proxy", "check"}}},
		SecurityContext: &cci.SecurityContext{Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"},
		}},
	}
}

// apiServerPort returns the port at which containers of mode proxy reach the API server: that of its Service, unless
// one of them listens on it. Client libraries read it from their variables.
func (b *builder) apiServerPort() int32 {
	if !slices.Contains(b.reserved, apiPort) {
		return apiPort
	}
	port := int32(lastAPIPort)
	for slices.Contains(b.reserved, port) {
		port--
	}
	return port
}

// kubeProxy returns what is special of the sidecar of mode kube-proxy. It serves no health checks and metrics beyond
// the Pod, changes no settings of the kernel, and is started when its rules are there. Source: Kubernetes v1.37,
// cmd/kube-proxy/app; pkg/proxy/nftables/proxier.go.
func (b *builder) kubeProxy() cci.Container {
	c := b.translator.config
	return cci.Container{
		Image:   b.translator.image(c.Services.KubeProxyImage),
		Command: []string{"kube-proxy"}, // The images of Kubernetes begin with another program.
		Args: []string{
			"--kubeconfig=" + servicesPath + "/" + identity.KubeconfigKey, "--hostname-override=" + c.Owner.Node,
			"--proxy-mode=nftables", "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249",
			"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s",
			"--conntrack-tcp-timeout-close-wait=0s", "--oom-score-adj=0",
		},
		StartupProbe: &cci.Probe{Exec: &corev1.ExecAction{
			Command: []string{"nft", "list", "chain", "ip", "kube-proxy", "services"},
		}},
		SecurityContext: &cci.SecurityContext{Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"},
		}},
	}
}

// reservedPorts returns the ports on which the containers of a Pod listen, in ascending order: those of their ports,
// probes and lifecycle handlers, and those of the annotation. The sidecar of mode proxy must not take them.
func reservedPorts(pod *corev1.Pod) ([]int32, error) {
	ports, err := policy.ParseReservedPorts(pod.Annotations)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, port := range list[i].Ports {
				ports = append(ports, port.ContainerPort)
			}
			for _, probe := range []*corev1.Probe{list[i].LivenessProbe, list[i].ReadinessProbe, list[i].StartupProbe} {
				if probe != nil {
					ports = append(ports, numbersOf(probe.HTTPGet, probe.TCPSocket)...)
				}
			}
			if lifecycle := list[i].Lifecycle; lifecycle != nil {
				for _, handler := range []*corev1.LifecycleHandler{lifecycle.PostStart, lifecycle.PreStop} {
					if handler != nil {
						ports = append(ports, numbersOf(handler.HTTPGet, handler.TCPSocket)...)
					}
				}
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), err
}

// numbersOf returns the ports of actions that are given by their numbers. Names are those of ports of the container.
func numbersOf(get *corev1.HTTPGetAction, socket *corev1.TCPSocketAction) (ports []int32) {
	if get != nil && get.Port.IntVal > 0 {
		ports = append(ports, get.Port.IntVal)
	}
	if socket != nil && socket.Port.IntVal > 0 {
		ports = append(ports, socket.Port.IntVal)
	}
	return ports
}

// Sidecar returns the status of the sidecar that the translation has added to a cloud Pod, nil if it has none.
func Sidecar(pod *corev1.Pod, cloud *cci.Pod) *corev1.ContainerStatus {
	if cloud == nil || hasContainer(&pod.Spec, policy.ServicesContainer) {
		return nil
	}
	return statusOf(cloud.Status.InitContainerStatuses, policy.ServicesContainer)
}

// SidecarFailure says why the sidecar of a Pod does not run, empty if it runs, starts, or has ended with the Pod.
func SidecarFailure(pod *corev1.Pod, cloud *cci.Pod) string {
	sidecar := Sidecar(pod, cloud)
	if sidecar == nil || cloud.DeletionTimestamp != nil || IsTerminal(cloud.Status.Phase) ||
		allEnded(cloud.Status.ContainerStatuses) {
		return ""
	}
	waiting, ended := sidecar.State.Waiting, sidecar.State.Terminated
	if ended == nil && !hasStarted(sidecar) {
		ended = sidecar.LastTerminationState.Terminated
	}
	var parts []string
	switch {
	case waiting != nil && !slices.Contains([]string{"", reasonCreating, reasonInitializing}, waiting.Reason):
		parts = []string{waiting.Reason, waiting.Message}
	case ended != nil:
		parts = []string{fmt.Sprintf("it has ended with exit code %d", ended.ExitCode), ended.Reason, ended.Message}
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return policy.Clip(strings.Join(parts, ": "), policy.MaxMessage/2)
}

// hasStarted reports whether the startup probe of a container has succeeded.
func hasStarted(status *corev1.ContainerStatus) bool { return status.Started != nil && *status.Started }

// allEnded reports whether there are containers and all of them have ended.
func allEnded(statuses []corev1.ContainerStatus) bool {
	return len(statuses) > 0 && !slices.ContainsFunc(statuses, func(s corev1.ContainerStatus) bool {
		return s.State.Terminated == nil
	})
}

// waitsForSidecar says that the containers of a Pod wait for its sidecar, and why. It is empty if they do not.
func waitsForSidecar(pod *corev1.Pod, cloud *cci.Pod) string {
	sidecar := Sidecar(pod, cloud)
	if sidecar == nil || hasStarted(sidecar) {
		return ""
	}
	message := "the sidecar " + policy.ServicesContainer + ", with which the Pod reaches Services, has not started"
	if failure := SidecarFailure(pod, cloud); failure != "" {
		message += ": " + failure
	}
	return message
}
