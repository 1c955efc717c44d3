package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// asProgram in the environment makes this test binary be the admission program: only a process of its own can be killed.
const asProgram = "SPILLWAY_TEST_AS_PROGRAM"

// spawn runs the program as a process of its own, where the API server looks for the webhook, and returns it and how to kill it.
func spawn(t *testing.T) (p *process, kill func()) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Kube.Kubeconfig = trialFile("admission.kubeconfig")
	cfg.Listen = strings.TrimPrefix(trial.Endpoint(system.Admission), "https://")
	cfg.HealthListen = strings.TrimPrefix(trial.HealthEndpoint(system.Admission), "http://")
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = pki("admission.crt"), pki("admission.key")
	content, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "admission.yaml")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	p = &process{health: "http://" + cfg.HealthListen, logs: &programtest.Log{}}
	command := exec.Command(os.Args[0], "--config", file)
	command.Env = append(os.Environ(), asProgram+"=1")
	command.Stdout, command.Stderr = p.logs, p.logs
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, command.Start())
	kill = func() {
		if err := command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
			assert.NoError(t, err)
			_ = command.Wait() // It says that it was killed.
		}
		if t.Failed() {
			t.Log("The log of the program that was killed:\n" + p.logs.String())
		}
	}
	t.Cleanup(kill)
	eventually(t, func() error { return p.get("/readyz") })
	return p, kill
}

// The leader is killed as a machine that fails kills it: the Lease is not given back, and for its ten seconds nobody leads and no webhook
// answers. Who comes next finds what was missed by looking, each controller what is its own.
func TestALeaderThatIsKilledIsReplacedAndWhatItMissedIsRepaired(t *testing.T) {
	first, kill := spawn(t)
	eventually(t, func() error { return leads(t, first) })
	second := launch(t, func(c *Config) { c.HealthListen = programtest.FreeAddress(t) })
	ns := namespace(t, nil)
	require.Error(t, leads(t, second))

	kill()

	create(t, ns, big("no-room"))
	malformed := small("malformed")
	malformed.Annotations = map[string]string{policy.LocalReplicasAnnotation: "many"}
	create(t, ns, malformed) // Nobody refuses it.
	apply(t, ns, manifest("apps/v1", "Deployment", "", `selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {nodeSelector: {type: virtual-kubelet}, `+
		`tolerations: [{key: virtual-kubelet.io/provider, operator: Exists}], containers: [{name: c, image: web}]}}`))
	require.Error(t, leads(t, second), "nobody leads while all this comes")

	eventually(t, func() error { return leads(t, second) })
	assert.Equal(t, virtualNode, onNode(t, ns, "no-room"), "the toleration")
	told(t, ns, "no-room", "BurstAllowed")
	assert.Equal(t, corev1.EventTypeWarning, told(t, ns, "malformed", "InvalidPolicy").Type)
	assert.NotEqual(t, virtualNode, onNode(t, ns, "malformed"))
	for _, pod := range pods(t, ns, 3) {
		if pod.Labels["app"] != "x" {
			continue
		}
		assert.Equal(t, virtualNode, onNode(t, ns, pod.Name))
		eventually(t, func() error {
			if cost := get(t, ns, pod.Name).Annotations[policy.DeletionCostAnnotation]; cost != policy.CloudDeletionCost {
				return fmt.Errorf("Pod %s has the rank %q", pod.Name, cost)
			}
			return nil
		})
	}
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_tolerations_added_total"), 0)
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_ranks_written_total"), 0)
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy"), 0)
}
