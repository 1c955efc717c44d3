package chart

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

func secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	found, err := trial.Client().CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return found
}

// TestTheExtenderAsAServiceAcceptsTheScheduler starts the extender with the Secret that the chart creates, and calls it
// with the Secret that the chart creates for the scheduler.
func TestTheExtenderAsAServiceAcceptsTheScheduler(t *testing.T) {
	asService := []string{"--set", "scheduler.mode=service"}
	install(t, values(asService...)...)
	served, shown := secret(t, "spillway-extender-tls"), secret(t, "spillway-extender-client")
	upgrade(t, values("--set", "scheduler.mode=service,scheduler.replicas=2")...)
	assert.Equal(
		t,
		served.Data,
		secret(t, "spillway-extender-tls").Data,
		"an upgrade keeps it: the scheduler has a copy",
	)
	assert.Equal(t, shown.Data, secret(t, "spillway-extender-client").Data)

	dir := configFiles(t, "spillway-extender", values(append(asService, "--namespace", namespace)...)...)
	for file, content := range served.Data {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), content, 0o600))
	}
	health := programtest.FreeAddress(t)
	start(t, "extender", "--config", filepath.Join(dir, "extender.yaml"), "--kubeconfig",
		kubeconfig(t, "spillway-extender"),
		"--listen", address(trial.Endpoint(system.Extender)), "--health-listen", health,
		"--tls-cert-file", filepath.Join(dir, "tls.crt"), "--tls-private-key-file", filepath.Join(dir, "tls.key"),
		"--client-ca-file", filepath.Join(dir, "ca.crt"))
	ready(t, "http://"+health)

	filter := "https://" + address(trial.Endpoint(system.Extender)) + "/v1/filter"
	call := func(certificates ...tls.Certificate) (int, error) {
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(shown.Data["ca.crt"]))
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: roots, ServerName: "spillway-extender." + namespace + ".svc", Certificates: certificates,
		}}}
		response, err := client.Post(filter, "application/json", strings.NewReader("{}"))
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	pair, err := tls.X509KeyPair(shown.Data["tls.crt"], shown.Data["tls.key"])
	require.NoError(t, err)
	status, err := call(pair)
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, status, "the client is authorized; its request is empty")
	_, err = call()
	assert.ErrorContains(t, err, "certificate required")
	own, err := tls.X509KeyPair(served.Data["tls.crt"], served.Data["tls.key"])
	require.NoError(t, err)
	status, err = call(own)
	require.NoError(t, err)
	assert.Equal(t, http.StatusForbidden, status, "the extender's own certificate has another name")
	block, _ := pem.Decode(shown.Data["tls.crt"])
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	assert.Equal(t, "spillway-scheduler-client", certificate.Subject.CommonName)
}

// TestASchedulerAcceptsTheEntry makes kube-scheduler read the entry as its configuration. The paths of the files are
// replaced by the paths in this test.
func TestASchedulerAcceptsTheEntry(t *testing.T) {
	dir := configFiles(t, "spillway-extender-entry",
		values("--set", "scheduler.mode=service,extender.service.clusterIP=10.96.0.42")...)
	entry, err := os.ReadFile(filepath.Join(dir, "extenders.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(entry), `urlPrefix: "https://10.96.0.42:10290/v1"`)
	file, written := filepath.Join(dir, "scheduler.yaml"), filepath.Join(dir, "written.yaml")
	certificate, key := trial.Certificate(system.Scheduler)
	paths := strings.NewReplacer("/etc/kubernetes/spillway/ca.crt", trial.AuthorityFile(),
		"/etc/kubernetes/spillway/tls.crt", certificate, "/etc/kubernetes/spillway/tls.key", key)
	content := "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" +
		"clientConnection: {kubeconfig: " + trial.Kubeconfig() + "}\n" + paths.Replace(string(entry))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	_, err = run("kube-scheduler", "--config", file, "--write-config-to", written)
	require.NoError(t, err)
	got, err := os.ReadFile(written)
	require.NoError(t, err)
	for _, line := range []string{
		"serverName: spillway-extender.spillway-system.svc", "preemptVerb: preempt", "name: spillway.io/placement",
		"ignoredByScheduler: true", "httpTimeout: 2s", "schedulerName: default-scheduler",
		"percentageOfNodesToScore: 100", "schedulerName: spillway-scheduler",
	} {
		assert.Contains(t, string(got), line)
	}
}
