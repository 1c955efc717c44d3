package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// restricted is a Pod whose burst label allows it to burst, but which the cloud cannot run. For the other fields see
// World.pod.
type restricted struct {
	name                      string
	reason                    policy.Reason
	metadata, spec, container string
}

// newFields are the names of the Pods with fields that a default API server of Kubernetes 1.34 does not know: the
// feature gates ContainerRestartRules and EnvFiles are beta since 1.35.
var newFields = []string{"restart-rules", "restart-policy", "variable"}

// restrictedPods has a Pod for each rule, and for each form of a rule that CCE bursting (docs/sources.md) lists. Pods
// of DaemonSets and Pods in protected namespaces are not among them.
var restrictedPods = []restricted{
	{
		"port-range", policy.ReasonLocalPortRange, "",
		`securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: "1024 65000"}]},`, "",
	},
	{"container-port", policy.ReasonReservedPort, "", "", "ports: [{containerPort: 61000}],"},
	{"host-port", policy.ReasonReservedPort, "", "", "ports: [{containerPort: 80, hostPort: 65534}],"},
	{
		"init-port", policy.ReasonReservedPort, "",
		"initContainers: [{name: init, image: nginx, ports: [{containerPort: 65534}]}],", "",
	},
	{"probe", policy.ReasonProbePort, "", "", "readinessProbe: {tcpSocket: {port: 65534}},"},
	{
		"sidecar-probe", policy.ReasonProbePort, "",
		"initContainers: [{name: init, image: nginx, restartPolicy: Always, livenessProbe: {httpGet: {port: 61000}}}],", "",
	},
	{"fixed-ip", policy.ReasonFixedIP, "annotations: {" + policy.FixedIPAnnotation + ": Never},", "", ""},
	{"host-path", policy.ReasonHostPath, "", "volumes: [{name: v, hostPath: {path: /var/log}}],", ""},
	{
		"volume-kind", policy.ReasonVolumeKind, "",
		"volumes: [{name: v, iscsi: {targetPortal: 192.0.2.9, iqn: iqn.2001-04.com.example:disk, lun: 0}}],", "",
	},
	{"claim", policy.ReasonPersistentVolume, "", "volumes: [{name: v, persistentVolumeClaim: {claimName: disk}}],", ""},
	{
		"sub-path", policy.ReasonEmptyDirSubPath, "",
		"volumes: [{name: v, emptyDir: {}}],",
		"volumeMounts: [{name: v, mountPath: /v, subPath: s}, {name: v, mountPath: /all}],",
	},
	{"size-limit", policy.ReasonEmptyDirSizeLimit, "", "volumes: [{name: v, emptyDir: {sizeLimit: 1500Mi}}],", ""},
	{"size-limit-above", policy.ReasonEmptyDirSizeLimit, "", "volumes: [{name: v, emptyDir: {sizeLimit: 11Gi}}],", ""},
	{"host-network", policy.ReasonHostNamespace, "", "hostNetwork: true,", ""},
	{"privileged", policy.ReasonPrivileged, "", "", "securityContext: {privileged: true},"},
	{"grpc", policy.ReasonGRPCProbe, "", "", "livenessProbe: {grpc: {port: 8080}},"},
	{
		"block", policy.ReasonBlockDevice, "",
		"volumes: [{name: v, persistentVolumeClaim: {claimName: block}}],", "volumeDevices: [{name: v, devicePath: /dev/v}],",
	},
	{"device", policy.ReasonDynamicResource, "", "resourceClaims: [{name: d, resourceClaimName: device}],", ""},
	{
		"restart-rules", policy.ReasonRestartRules, "", "",
		"restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}],",
	},
	{"restart-policy", policy.ReasonRestartRules, "", "", "restartPolicy: Never,"},
	{
		"variable", policy.ReasonVariableSource, "", "volumes: [{name: v, emptyDir: {}}],",
		"env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: env, key: A, optional: true}}}],",
	},
	{"groups", policy.ReasonSupplementalGroups, "", "securityContext: {supplementalGroupsPolicy: Strict},", ""},
	{"flavor", policy.ReasonNoFlavor, `annotations: {` + policy.FlavorAnnotation + `: "0.30_7.0"},`, "", ""},
}

// protectedNamespaces are those of TKE Resilience (docs/sources.md).
var protectedNamespaces = []string{metav1.NamespaceSystem, "tke-eni-ip-webhook"}

// playRestrictions fills the local nodes. Pods that the cloud cannot run wait for local nodes, each with a reason. Then
// the local nodes have capacity again, and the Pods run there.
func playRestrictions(ctx context.Context, w *World) (err error) {
	if err := w.apply(ctx, "restrictions.yaml"); err != nil {
		return err
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "", "delete", "--ignore-not-found", "--wait=false",
			"persistentvolume/story-disk", "persistentvolume/story-block", "csidriver/nas.csi.everest.io",
			"deviceclass/story-device", "resourceslice/story-devices")
	}()
	if err := w.awaitRunning(ctx, "filler", 3, 0); err != nil {
		return err
	}
	if err := w.awaitClaims(ctx, "disk", "block"); err != nil {
		return err
	}
	pods := slices.Clone(restrictedPods)
	if version, err := w.client.Discovery().ServerVersion(); err != nil {
		return fmt.Errorf("finding the version of the API server: %w", err)
	} else if version.Minor == "34" {
		w.printf("  left out, since Kubernetes 1.34 does not know their fields: %s", strings.Join(newFields, ", "))
		pods = slices.DeleteFunc(pods, func(r restricted) bool { return slices.Contains(newFields, r.name) })
	}
	for _, r := range pods {
		if err := w.pod(ctx, r.name, r.metadata, r.spec, requesting("300m", r)); err != nil {
			return err
		}
	}
	return w.inProtected(ctx, func(protected []*World) error {
		for _, r := range pods {
			if err := w.awaitWaiting(ctx, r.name, 0, 1, r.reason); err != nil {
				return err
			}
		}
		for _, p := range protected {
			if err := p.awaitWaiting(ctx, "protected", 0, 1, policy.ReasonProtectedNamespace); err != nil {
				return err
			}
		}
		if err := w.run(ctx, "delete", "deployment", "filler"); err != nil {
			return err
		}
		for _, r := range pods {
			if err := w.awaitRunning(ctx, r.name, 1, 0); err != nil {
				return err
			}
		}
		for _, p := range protected {
			if err := p.awaitRunning(ctx, "protected", 1, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// requesting returns the container of a restricted Pod with a CPU request.
func requesting(cpu string, r restricted) string {
	claims := ""
	if r.reason == policy.ReasonDynamicResource {
		claims = ", claims: [{name: d}]"
	}
	return fmt.Sprintf(`resources: {requests: {cpu: %q}%s}, %s`, cpu, claims, r.container)
}

// inProtected calls play with a Pod in each of the protected namespaces, and then deletes the Pods.
func (w *World) inProtected(ctx context.Context, play func([]*World) error) (err error) {
	var protected []*World
	for _, namespace := range protectedNamespaces {
		in := *w
		in.Namespace = namespace
		if namespace != metav1.NamespaceSystem {
			if err := w.run(ctx, "create", "namespace", namespace); err != nil {
				return err
			}
			if err := in.await(ctx, "the default ServiceAccount of "+namespace, in.hasServiceAccount); err != nil {
				return err
			}
		}
		if err := in.pod(ctx, "protected", "", "", requesting("300m", restricted{})); err != nil {
			return err
		}
		protected = append(protected, &in)
	}
	defer func() {
		for _, in := range protected {
			endErr := in.run(context.WithoutCancel(ctx), "delete", "pod", "protected", "--wait=false")
			if err == nil {
				err = endErr
			}
			if in.Namespace != metav1.NamespaceSystem {
				_ = in.run(context.WithoutCancel(ctx), "delete", "namespace", in.Namespace, "--wait=false")
			}
		}
	}()
	return play(protected)
}

// awaitClaims blocks until the claims are bound. The kinds of their volumes are known then.
func (w *World) awaitClaims(ctx context.Context, names ...string) error {
	what := "the claims " + strings.Join(names, " and ") + " to be bound"
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		for _, name := range names {
			claim, err := w.client.CoreV1().PersistentVolumeClaims(w.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, "", fmt.Errorf("getting claim %s: %w", name, err)
			}
			if claim.Status.Phase != corev1.ClaimBound {
				return false, fmt.Sprintf("claim %s is %s", name, claim.Status.Phase), nil
			}
		}
		return true, "", nil
	})
}
