package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// keys matches certificates and keys that Helm generates. They differ in each rendering.
var keys = regexp.MustCompile(`(?m)^( +(?:ca[.]crt|tls[.]crt|tls[.]key|accessKey|secretKey)): .*$`)

func TestWhatTheChartsRender(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0f", 32)
	everything := strings.Join([]string{
		"scheduler.otherNames={tke-scheduler}", "networkPolicies.apiServerCIDRs={10.0.0.0/28}",
		"networkPolicies.restrictEgress=true", "image.digests.vnode=" + digest, "scheduler.image.digest=" + digest,
		"metrics.serviceMonitor.enabled=true",
		"eksConfig.autoScaleEKS=true", "policy.localFalseForbids=true", "vnode.certificate=cluster",
		"vnode.capacity.cpu=500",
		"vnode.soldOut.lock=10m", "cloud.settings.qps=50", "admission.deletionCost=-1", rollouts,
	}, ",")
	cases := map[string]struct {
		chart, golden string
		args          []string
	}{
		"one replica of every program": {spillway, "testdata/single.yaml", values()},
		"two replicas of every program, and options": {
			spillway, "testdata/ha.yaml", values("-f", spillway+"/values-ha.yaml", "--set", everything),
		},
		"the extender as a service": {
			spillway, "testdata/service.yaml",
			values("--set", "scheduler.mode=service,vnode.certificate=secret/kubelet"),
		},
		"a simulated cloud": {spillway, "testdata/simulator.yaml", simulated()},
		// The stories install this one.
		"placeholders": {buffer, "../stories/manifests/placeholder-chart.yaml", []string{
			"--name-template", "tke-autoscaling-placeholder", "--set", "replicaCount=0",
			"--set", "lowPriorityClass.name=story-buffer,podLabels.app=tke-autoscaling-placeholder",
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := template(tc.chart, tc.args...)
			require.NoError(t, err)
			got = keys.ReplaceAllString(got, "$1: <generated>")
			if *update {
				require.NoError(t, os.WriteFile(tc.golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(tc.golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got, "run the test with -update")
		})
	}
}

// A scheduler has the version of the cluster, unless it is configured. A cluster may be named without a patch version.
func TestTheSchedulerHasTheVersionOfTheCluster(t *testing.T) {
	const repository = `image: "registry.k8s.io/kube-scheduler:`
	for version, want := range map[string]string{
		"1.34": "v1.34.0", "1.34.2": "v1.34.2", "v1.35.1-eks-4f2b": "v1.35.1", "v1.36.0+k3s1": "v1.36.0",
	} {
		out, err := template(spillway, values("--kube-version", version)...)
		require.NoError(t, err)
		assert.Contains(t, out, repository+want+`"`, version)
	}
	out, err := template(spillway, values("--kube-version", "1.34", "--set", "scheduler.image.tag=v1.33.1")...)
	require.NoError(t, err)
	assert.Contains(t, out, repository+`v1.33.1"`)
}

// objects returns the objects of a rendered chart.
func objects(t *testing.T, chart string, args ...string) (list []*unstructured.Unstructured) {
	t.Helper()
	out, err := template(chart, args...)
	require.NoError(t, err)
	for document := range strings.SplitSeq(out, "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object), document)
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
	return list
}

// configFiles writes the files of a rendered ConfigMap into a directory.
func configFiles(t *testing.T, name string, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, object := range objects(t, spillway, args...) {
		if object.GetKind() != "ConfigMap" || object.GetName() != name {
			continue
		}
		files, _, err := unstructured.NestedStringMap(object.Object, "data")
		require.NoError(t, err)
		for file, content := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
		}
		return dir
	}
	require.Fail(t, "there is no ConfigMap "+name)
	return ""
}

// TestTheProgramsAcceptEveryValue starts the programs with every value set. They read and check their configuration,
// then fail because there is no service account of a Pod.
func TestTheProgramsAcceptEveryValue(t *testing.T) {
	every := values("-f", "testdata/every-value.yaml")
	cases := map[string]struct {
		program, configMap string
		args               []string
	}{
		"the extender next to the scheduler": {"extender", "spillway-scheduler", every},
		"the extender as a service": {
			"extender", "spillway-extender", append(every, "--set", "scheduler.mode=service"),
		},
		"admission": {"admission", "spillway-admission", every},
		"the virtual node with the image of the sidecar that the chart sets": {
			"vnode", "spillway-vnode", values("--set", "vnode.pods.services=proxy,vnode.pods.clusterDNS={10.96.0.10}"),
		},
		"the virtual node": {"vnode", "spillway-vnode", every},
		"the virtual node with former names": {
			"vnode", "spillway-vnode",
			values("--set", "vnode.pods.longestRetry=2m,vnode.soldOut.patience=1m,vnode.soldOut.stuckPods=wait"),
		},
		"a virtual node of CCI 1.0": {"vnode", "spillway-vnode", values("-f", "testdata/cci1.yaml")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			args := []string{"--config", filepath.Join(configFiles(t, tc.configMap, tc.args...), tc.program+".yaml")}
			if tc.program == "vnode" {
				keys := filepath.Join(t.TempDir(), "keys.yaml")
				require.NoError(t, os.WriteFile(keys, []byte("accessKey: a\nsecretKey: s\n"), 0o600))
				args = append(
					args,
					"--process-name=0_virtual-node-cci-0",
					"--node-ip=10.0.0.9",
					"--cci-credentials-file",
					keys,
				)
			}
			_, err := run(tc.program, args...)
			assert.ErrorContains(t, err, "reading the service account of the Pod")
		})
	}
}

func TestTheSidecarOfServicesHasTheImageOfTheRelease(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0f", 32)
	for name, tc := range map[string]struct{ set, want string }{
		"the registry and the tag": {"", "registry.test/spillway-proxy:v1"},
		"a digest":                 {",image.digests.proxy=" + digest, "registry.test/spillway-proxy:v1@" + digest},
		"an image of its own":      {",vnode.pods.proxy.image=other", "other"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := configFiles(t, "spillway-vnode", values("--set", "vnode.pods.services=proxy,"+
				"vnode.pods.clusterDNS={10.96.0.10},vnode.pods.proxy.namespaces={shop},image.registry=registry.test,"+
				"image.tag=v1"+tc.set)...)
			content, err := os.ReadFile(filepath.Join(dir, "vnode.yaml"))
			require.NoError(t, err)
			var config struct {
				Pods struct {
					Proxy struct {
						Image      string   `json:"image"`
						Namespaces []string `json:"namespaces"`
					} `json:"proxy"`
				} `json:"pods"`
			}
			require.NoError(t, yaml.Unmarshal(content, &config))
			assert.Equal(t, tc.want, config.Pods.Proxy.Image)
			assert.Equal(t, []string{"shop"}, config.Pods.Proxy.Namespaces)
		})
	}
}
