package stories

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// PlayServices starts a Pod of each mode of Services, and a Job with the sidecar of proxy. The virtual nodes must have
// the images of both sidecars, and system.ClusterDNS as the DNS of the cluster.
func PlayServices(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "services.yaml"); err != nil {
		return err
	}
	cart, err := w.client.CoreV1().Services(w.Namespace).Get(ctx, "cart", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading Service cart: %w", err)
	}
	for _, mode := range policy.ServicesModes() {
		if err := w.awaitRunning(ctx, string(mode), 0, 1); err != nil {
			return err
		}
		if err := w.checkMode(ctx, mode, cart.Spec.ClusterIP); err != nil {
			return fmt.Errorf("mode %s: %w", mode, err)
		}
	}
	if err := w.refusesUnknownMode(ctx); err != nil {
		return err
	}
	return w.run(ctx, "wait", "--for=condition=Complete", "job/sum", "--timeout=80s")
}

// checkMode compares the cloud Pod of a Deployment of the mode with what the mode promises, and the status of its Pod
// with that of any other one.
func (w *World) checkMode(ctx context.Context, mode policy.ServicesMode, clusterIP string) error {
	pods, err := w.pods(ctx, string(mode))
	if err != nil {
		return err
	}
	inCloud, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	if len(pods) != 1 {
		return fmt.Errorf("there are %d Pods: want one", len(pods))
	}
	pod := pods[0]
	cloud, ok := inCloud[pod.UID]
	if !ok {
		return fmt.Errorf("Pod %s has no cloud Pod", pod.Name)
	}
	var sidecars, env []string
	for _, c := range cloud.Spec.InitContainers {
		sidecars = append(sidecars, c.Name)
	}
	for _, e := range cloud.Spec.Containers[0].Env {
		env = append(env, e.Name+"="+e.Value)
	}
	var servers []string
	if cloud.Spec.DNSConfig != nil {
		servers = cloud.Spec.DNSConfig.Nameservers
	}
	w.printf("  %s: name server %s, sidecars %v, variables %v", mode, strings.Join(servers, ","), sidecars, env)
	wantServer, wantSidecars := system.ClusterDNS, []string(nil)
	if mode == policy.ServicesProxy {
		wantServer = "127.0.0.1"
	}
	if mode.HasSidecar() {
		wantSidecars = []string{policy.ServicesContainer}
	}
	linked := slices.Contains(env, "CART_SERVICE_HOST="+clusterIP)
	wantLinks := mode == policy.ServicesRouted || mode == policy.ServicesKubeProxy
	switch {
	case !slices.Equal(servers, []string{wantServer}):
		return fmt.Errorf("the name servers are %v: want %s", servers, wantServer)
	case !slices.Equal(sidecars, wantSidecars):
		return fmt.Errorf("the sidecars in the cloud are %v: want %v", sidecars, wantSidecars)
	case linked != wantLinks:
		return fmt.Errorf("the variables %v have the ClusterIP %s of Service cart: %t, want %t", env, clusterIP, linked,
			wantLinks)
	case len(pod.Status.InitContainerStatuses) > 0 || len(pod.Status.ContainerStatuses) != 1:
		return fmt.Errorf("the status of Pod %s shows %d init containers and %d containers: want its own one only", pod.Name,
			len(pod.Status.InitContainerStatuses), len(pod.Status.ContainerStatuses))
	case mode.HasSidecar():
		return w.hasKubeconfig(ctx, &cloud)
	}
	return nil
}

// hasKubeconfig checks that the Secret that the sidecar mounts has its kubeconfig.
func (w *World) hasKubeconfig(ctx context.Context, cloud *corev1.Pod) error {
	var secrets corev1.SecretList
	if err := w.cluster.Cloud.List(ctx, "secrets", &secrets); err != nil {
		return err
	}
	for _, mount := range cloud.Spec.InitContainers[0].VolumeMounts {
		for _, volume := range cloud.Spec.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			for _, secret := range secrets.Items {
				text := string(secret.Data[identity.KubeconfigKey])
				if secret.Name == volume.Secret.SecretName && strings.Contains(text, "tls-server-name: spillway-services") {
					return nil
				}
			}
		}
	}
	return errors.New("no Secret that the sidecar mounts has its kubeconfig")
}

// refusesUnknownMode checks that a typing error in a mode is found when the Deployment is applied.
func (w *World) refusesUnknownMode(ctx context.Context) error {
	manifest := constrained("typo", 1, "annotations: {"+policy.ServicesAnnotation+": prox},", "", "")
	printed, err := w.Apply(ctx, manifest)
	if err != nil {
		return err
	}
	const want = `Invalid value: "prox": must be one of off, routed, proxy, kube-proxy`
	if !strings.Contains(printed, want) {
		return fmt.Errorf("kubectl apply prints %q: want %s", printed, want)
	}
	w.printf("  %s", want)
	return nil
}
