package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// connectSeconds is how long a connection to a Service may take.
const connectSeconds = "5"

// tryServices reaches Services from the Pod as Pods do with the mode routed: by a ClusterIP, and by a name that the DNS
// of the cluster resolves.
func tryServices(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.options.ServiceAddress == "" && d.options.ServiceName == "" {
		return "no --service-address and no --service-name", nil, errSkip
	}
	var reached []string
	var findings []diagnosis.Finding
	if text := d.options.ServiceAddress; text != "" {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return "", nil, fmt.Errorf("reading the address of a Service: %w", err)
		}
		_, err = d.command(ctx, d.cloud, transcript.AuthToken, "nc", "-z", "-w", connectSeconds, at.Addr().String(),
			strconv.Itoa(int(at.Port())))
		if err != nil {
			findings = append(findings, found(CodeServiceNotReached, "nc from a Pod to %s: %s", text, quote(err)))
		} else {
			reached = append(reached, text)
		}
	}
	if name := d.options.ServiceName; name != "" {
		servers := d.config.Pods.ClusterDNS
		if len(servers) == 0 {
			return "", findings, errors.New("no address of the cluster's DNS is configured (pods.clusterDNS)")
		}
		if _, err := d.command(ctx, d.cloud, transcript.AuthToken, "nslookup", name, servers[0]); err != nil {
			findings = append(findings,
				found(CodeServiceNotResolved, "nslookup %s %s in a Pod: %s", name, servers[0], quote(err)))
		} else {
			reached = append(reached, name)
		}
	}
	if len(reached) == 0 {
		return "", findings, nil
	}
	return "a Pod reaches " + strings.Join(reached, ", "), findings, nil
}

// sidecarName is the name of the sidecar in createSidecar.
const sidecarName = "sidecar"

// createSidecar creates a Pod with a sidecar that asks for NET_ADMIN, as a Pod has that reaches Services with the mode
// kube-proxy.
func createSidecar(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	const name = namePrefix + "sidecar"
	pod := d.smallestPod(name, d.options.Image)
	sidecar := pod.Spec.Containers[0]
	sidecar.Name, sidecar.Resources = sidecarName, cci.Resources{}
	sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	sidecar.SecurityContext = &cci.SecurityContext{
		RunAsUser: new(int64), Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}},
	}
	pod.Spec.InitContainers = []cci.Container{sidecar}
	_, err := d.cloud.CreatePod(ctx, d.namespace(), pod)
	var findings []diagnosis.Finding
	if refused := refusal(err); err != nil && refused == nil && cci.IsPermanent(err) {
		findings = append(findings, found(CodeNoNetAdmin, "%s", quote(err)))
		pod.Spec.InitContainers[0].SecurityContext = nil
		_, err = d.cloud.CreatePod(ctx, d.namespace(), pod)
		if err != nil && refusal(err) == nil && cci.IsPermanent(err) {
			return "", append(findings, found(CodeNoSidecar, "%s", quote(err))), nil
		}
	}
	if err != nil {
		note, refused, err := d.refusedPod(err)
		return note, append(findings, refused...), err
	}
	defer d.discard(ctx, name)
	err = d.await(ctx, func() (bool, error) {
		read, err := d.cloud.GetPod(ctx, d.namespace(), name)
		if err != nil {
			return false, err
		}
		pod = read
		return pod.Status.Phase != corev1.PodPending && pod.Status.Phase != "", nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded), err == nil && pod.Status.Phase != corev1.PodRunning:
		return "", append(findings, found(CodeNoSidecar, "the Pod is %s: %s", pod.Status.Phase, wordsOf(pod))), nil
	case err != nil:
		return "", findings, err
	case len(findings) > 0:
		return "it runs without NET_ADMIN", findings, nil
	}
	status, err := d.commandIn(ctx, d.cloud, transcript.AuthToken, name, sidecarName, "cat", "/proc/self/status")
	mask, known := capabilities(status)
	switch {
	case err != nil || !known:
		return "it runs, and its capabilities are not known", nil, nil
	case mask&(1<<netAdmin) == 0:
		return "", []diagnosis.Finding{
			found(CodeNoNetAdmin, "a container that asks for it has the capabilities %#x", mask),
		}, nil
	}
	return "it runs, with NET_ADMIN", nil, nil
}

// netAdmin is the number of the capability NET_ADMIN. Source: capabilities(7).
const netAdmin = 12

// capabilities reads the effective capabilities from the status of a process in /proc.
func capabilities(status string) (mask uint64, ok bool) {
	for line := range strings.Lines(status) {
		if text, found := strings.CutPrefix(line, "CapEff:"); found {
			mask, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return mask, err == nil
		}
	}
	return 0, false
}
