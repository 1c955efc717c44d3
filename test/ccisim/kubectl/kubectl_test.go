package kubectl

import (
	"bytes"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/test/system"
)

const (
	timeout = time.Minute
	tick    = 50 * time.Millisecond
	token   = "token of the test"
)

// kubectl is kubectl with a kubeconfig of the cloud.
type kubectl struct {
	t                *testing.T
	program, dir     string
	config, manifest string
}

// newKubectl starts a cloud with TLS, without which kubectl sends no token.
func newKubectl(t *testing.T, manifest string) *kubectl {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	config := ccisimtest.Quick(ccisim.Credential{AccessKey: "AK", SecretKey: "SK", ProjectID: "p", AuthToken: token})
	config.Processes = true
	sim, _ := ccisimtest.Start(t, config)
	server := httptest.NewTLSServer(sim.Handler())
	t.Cleanup(server.Close)
	k := &kubectl{t: t, program: filepath.Join(bin, "kubectl"), dir: t.TempDir()}
	k.config, k.manifest = filepath.Join(k.dir, "kubeconfig"), filepath.Join(k.dir, "manifest.yaml")
	require.NoError(t, os.WriteFile(k.manifest, []byte(manifest), 0o600))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.URL, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u", Namespace: "team"}},
		CurrentContext: "x",
	}, k.config))
	return k
}

// run returns what kubectl prints, and how it ends.
func (k *kubectl) run(args ...string) (string, error) {
	command := exec.CommandContext(k.t.Context(), k.program,
		append([]string{"--kubeconfig", k.config, "--cache-dir", filepath.Join(k.dir, "cache")}, args...)...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}

func (k *kubectl) want(args ...string) string {
	k.t.Helper()
	out, err := k.run(args...)
	require.NoError(k.t, err, "kubectl %s: %s", strings.Join(args, " "), out)
	return out
}

// create creates the manifest. The service has no schema that kubectl could validate it with.
func (k *kubectl) create() {
	k.t.Helper()
	k.want("create", "--validate=false", "-f", k.manifest)
}

func (k *kubectl) untilRunning(pod string) {
	k.t.Helper()
	require.Eventually(k.t, func() bool {
		return k.want("get", pod, "-o", "jsonpath={.status.phase}") == "Running"
	}, timeout, tick, "%s runs", pod)
}

func TestKubectlWithCCI1(t *testing.T) {
	t.Parallel()
	k := newKubectl(t, `
{apiVersion: v1, kind: Namespace,
 metadata: {name: team, annotations: {namespace.kubernetes.io/flavor: general-computing}}}
---
{apiVersion: networking.cci.io/v1beta1, kind: Network,
 metadata: {name: net, namespace: team, annotations: {network.alpha.kubernetes.io/default-security-group: sg}},
 spec: {networkType: underlay_neutron, attachedVPC: vpc, networkID: network}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: team}
spec:
  containers:
  - name: web
    image: ccisim/process:1
    command: [sh, -c, echo started; exec sleep 3600]
    resources: {limits: {cpu: 500m, memory: 1Gi}, requests: {cpu: 500m, memory: 1Gi}}
`)
	k.create()
	k.untilRunning("pod/web")
	assert.Contains(t, k.want("get", "namespaces"), "team ")
	assert.Contains(t, k.want("get", "pods"), "web ")
	described := k.want("describe", "pod", "web")
	assert.Contains(t, described, "ccisim/process:1")
	assert.Regexp(t, `(?m)^Events:\n`, described, "the Pod has Events")
	require.Eventually(t, func() bool { return k.want("logs", "web") == "started\n" }, timeout, tick, "the log is there")
	out, err := k.run("exec", "web", "--", "sh", "-c", "echo said; exit 3")
	assert.Contains(t, out, "said\n")
	assert.Contains(t, out, "command terminated with exit code 3")
	var exited *exec.ExitError
	require.ErrorAs(t, err, &exited)
	assert.Contains(t, k.want("delete", "pod", "web", "--grace-period=1"), `pod "web" deleted`)
	k.want("delete", "namespace", "team")
	assert.NotContains(t, k.want("get", "namespaces", "-o", "name"), "namespace/team")
}

// Kubectl does not know the Pods of CCI 2.0 as Pods. It treats them as it treats custom resources.
func TestKubectlWithCCI2(t *testing.T) {
	t.Parallel()
	k := newKubectl(t, `
{apiVersion: cci/v2, kind: Namespace, metadata: {name: team}}
---
{apiVersion: yangtse/v2, kind: Network, metadata: {name: net, namespace: team},
 spec: {networkType: underlay_neutron, securityGroups: [sg], subnets: [{subnetID: subnet}]}}
---
apiVersion: cci/v2
kind: Pod
metadata: {name: web, namespace: team}
spec:
  containers:
  - name: web
    image: ccisim/process:1
    command: [sh, -c, echo started; exec sleep 3600]
    resources: {limits: {cpu: 500m, memory: 1Gi}}
`)
	k.create()
	k.untilRunning("pods.cci/web")
	assert.Contains(t, k.want("get", "namespaces.cci"), "team ")
	assert.Contains(t, k.want("get", "networks.yangtse"), "net ")
	assert.Contains(t, k.want("describe", "pods.cci", "web"), "ccisim/process:1")
	require.Eventually(t, func() bool {
		return k.want("get", "--raw", "/apis/cci/v2/namespaces/team/pods/web/log") == "started\n"
	}, timeout, tick, "the log is there")
	k.want("label", "pods.cci", "web", "seen=yes")
	assert.Contains(t, k.want("get", "pods.cci", "-l", "seen=yes"), "web ")
	// The namespace is deleted first, and may take the others with it.
	k.want("delete", "-f", k.manifest, "--ignore-not-found")
	assert.NotContains(t, k.want("get", "namespaces.cci", "-o", "name"), "namespace.cci/team")
}
