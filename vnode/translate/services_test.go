package translate_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/policy"
	proxyconfig "github.com/spillway-k8s/spillway/proxy/config"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// inMode returns an input with everything that the modes need, and its Pod in one of them.
func inMode(in input, mode policy.ServicesMode) input {
	if len(in.ClusterDNS) == 0 {
		in.ClusterDNS = []string{"10.0.0.10"}
	}
	in.Services = translate.ServicesConfig{
		ProxyImage: "proxy", KubeProxyImage: "kube-proxy", Server: "spillway-system/spillway-vnode-services",
	}
	in.Pod = *in.Pod.DeepCopy()
	if in.Pod.Annotations == nil {
		in.Pod.Annotations = map[string]string{}
	}
	in.Pod.Annotations[policy.ServicesAnnotation] = string(mode)
	return in
}

// The sidecar costs nothing: the size that the virtual node asks for, and the one that the cloud bills, are those of
// the Pod without it.
func TestNoModeChangesTheSize(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) {
		c.Policies = ccisim.Policies{Fields: ccisim.RefuseFields, EqualRequests: true}
	})
	files, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(t, err)
	compared := 0
	for _, file := range files {
		in := read(t, file)
		if in.Version == policy.CCI1 {
			continue // It has no sidecars.
		}
		off := run(t, inMode(in, policy.ServicesOff))
		for _, mode := range policy.ServicesModes()[1:] {
			in := inMode(in, mode)
			in.Pod.Name = fmt.Sprintf("m-%d", compared)
			out := run(t, in)
			if off.Refused != "" || strings.Contains(file, "malformed-ports") && mode == policy.ServicesProxy {
				continue
			}
			require.Empty(t, out.Refused, "%s, mode %s: %s", file, mode, out.Because)
			assert.Equal(t, off.Size, out.Size, "%s, mode %s", file, mode)
			created, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, out.Pod)
			require.NoError(t, err, "%s, mode %s", file, mode)
			assert.Equal(t, off.Size, created.Annotations[cci.SizeAnnotation], "%s, mode %s", file, mode)
			compared++
		}
	}
	assert.Greater(t, compared, 60)
}

// The sidecar must accept the flags that it gets, and know all of them.
func TestTheSidecarAcceptsItsFlags(t *testing.T) {
	files, err := filepath.Glob("testdata/services-proxy*.input.yaml")
	require.NoError(t, err)
	accepted := 0
	for _, file := range files {
		in := read(t, file)
		out := run(t, in)
		if out.Refused != "" || len(out.Pod.Spec.InitContainers) == 0 {
			continue
		}
		cfg := proxyconfig.Default()
		require.NoError(t, config.Load("proxy", out.Pod.Spec.InitContainers[0].Args, cfg), file)
		assert.Equal(t, "cluster.local", cfg.ClusterDomain)
		assert.NotEmpty(t, cfg.Nameservers, file)
		assert.NotEmpty(t, cfg.ServerService, file)
		accepted++
	}
	assert.Greater(t, accepted, 5)
}

func TestTooManyVariablesOfServicesAreLeftOut(t *testing.T) {
	in := input{ClusterDNS: []string{"10.0.0.10"}, Services: translate.ServicesConfig{Mode: policy.ServicesRouted}}
	in.Pod.Namespace, in.Pod.Name, in.Pod.UID = "default", "web", "u1"
	in.ClusterServices = []corev1.Service{service("kubernetes", "10.96.0.1")}
	for i := range 300 {
		in.ClusterServices = append(in.ClusterServices, service(fmt.Sprintf("s%d", i), "10.96.1.1"))
	}
	with := func(containers int) output {
		in.Pod.Spec.Containers = nil
		for i := range containers {
			in.Pod.Spec.Containers = append(in.Pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "i"})
		}
		return run(t, in)
	}
	out := with(2)
	assert.Empty(t, out.Warnings)
	assert.Len(t, out.Pod.Spec.Containers[1].Env, 7+300*7)

	out = with(3)
	require.Len(t, out.Warnings, 1)
	assert.Contains(t, out.Warnings[0], "the variables of the 300 Services of the namespace are left out")
	for _, c := range out.Pod.Spec.Containers {
		assert.Len(t, c.Env, 7, "those of the API server stay")
	}

	in.ClusterServices = nil
	for i := range 50 {
		name := fmt.Sprintf("s%d-%s", i, strings.Repeat("x", 58))
		in.ClusterServices = append(in.ClusterServices, service(name, "10.96.1.1"))
	}
	assert.Empty(t, with(8).Warnings)
	assert.Len(t, with(9).Warnings, 1, "their size counts too")
}

func TestVariablesFromEnvFromWin(t *testing.T) {
	from := func(kind identity.MirrorKind, name, prefix string) corev1.EnvFromSource {
		ref := corev1.LocalObjectReference{Name: name}
		if kind == identity.MirrorConfigMap {
			return corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}}
		}
		return corev1.EnvFromSource{Prefix: prefix, SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref}}
	}
	in := input{
		ClusterDNS: []string{"10.0.0.10"}, Services: translate.ServicesConfig{
			Mode: policy.ServicesKubeProxy, KubeProxyImage: "kube-proxy",
		},
		ClusterServices: []corev1.Service{service("redis", "10.96.3.4")},
	}
	in.Pod.Namespace, in.Pod.Name, in.Pod.UID = "default", "web", "u1"
	in.Pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "i"}}
	in.Pod.Spec.Containers = []corev1.Container{
		{
			Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "REDIS_SERVICE_HOST", Value: "own"}},
			EnvFrom: []corev1.EnvFromSource{
				from(identity.MirrorConfigMap, "settings", ""), from(identity.MirrorSecret, "keys", "REDIS_"),
			},
		},
		{Name: "d", Image: "i", EnvFrom: []corev1.EnvFromSource{from(identity.MirrorConfigMap, "unknown", "")}},
	}
	out := run(t, in)
	before := len(out.Pod.Spec.Containers[0].Env)
	keys := func(m identity.Mirror) map[string]bool {
		return map[identity.Mirror]map[string]bool{
			{Kind: identity.MirrorConfigMap, Namespace: "default", Name: "settings"}: {
				"REDIS_PORT": true, "REDIS_SERVICE_HOST": true, "LEVEL": true,
			},
			{Kind: identity.MirrorSecret, Namespace: "default", Name: "keys"}: {"SERVICE_PORT": true},
		}[m]
	}
	got := translate.PreferEnvFrom(out.Pod, &in.Pod, keys).Spec
	names := map[string]string{}
	for _, e := range got.Containers[0].Env {
		names[e.Name] = e.Value
	}
	assert.NotContains(t, names, "REDIS_PORT", "the ConfigMap has it")
	assert.NotContains(t, names, "REDIS_SERVICE_PORT", "the Secret has it, with the prefix")
	assert.Equal(t, "own", names["REDIS_SERVICE_HOST"], "a variable of the container itself wins, as everywhere")
	assert.Len(t, names, before-2)
	assert.Len(t, out.Pod.Spec.Containers[0].Env, before, "the argument is not changed")
	assert.Equal(t, out.Pod.Spec.Containers[1], got.Containers[1])
	assert.Equal(t, out.Pod.Spec.InitContainers, got.InitContainers)
}

func TestWhichPodsDependOnTheServicesOfTheirNamespace(t *testing.T) {
	for mode, want := range map[policy.ServicesMode]bool{
		policy.ServicesOff: false, policy.ServicesRouted: true, policy.ServicesProxy: false, policy.ServicesKubeProxy: true,
		"sidecar": false, // It is refused.
	} {
		in := inMode(input{}, mode)
		assert.Equal(t, want, newTranslator(t, in).ReadsServices(&in.Pod), mode)
	}
}
