package integration

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

	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// asProgram in the environment makes this test binary run the admission program: a test can kill a separate process
// only.
const asProgram = "SPILLWAY_TEST_AS_PROGRAM"

// spawn runs the program as a separate process at the address that the API server knows. kill kills the process.
func spawn(t *testing.T) (p *process, kill func()) {
	t.Helper()
	cfg := config.Default()
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
			_ = command.Wait() // It reports that the process was killed.
		}
		if t.Failed() {
			t.Log("Log of the killed program:\n" + p.logs.String())
		}
	}
	t.Cleanup(kill)
	eventually(t, func() error { return p.get("/readyz") })
	return p, kill
}

// The leader is killed as by a machine failure: it does not release the Lease, so for ten seconds no process leads
// and no webhook answers. Every controller of the next leader finds what was missed in its backlog.
func TestTheNextLeaderRepairsWhatAKilledLeaderMissed(t *testing.T) {
	first, kill := spawn(t)
	eventually(t, func() error { return leads(t, first) })
	second := launch(t, func(c *config.Config) { c.HealthListen = programtest.FreeAddress(t) })
	ns := namespace(t, nil)
	require.Error(t, leads(t, second))

	kill()

	create(t, ns, big("no-room"))
	malformed := small("malformed")
	malformed.Annotations = map[string]string{policy.LocalReplicasAnnotation: "many"}
	create(t, ns, malformed) // No webhook rejects it.
	apply(t, ns, manifest("apps/v1", "Deployment", "", `selector: {matchLabels: {app: x}}, `+
		`template: {metadata: {labels: {app: x}}, spec: {nodeSelector: {type: virtual-kubelet}, `+
		`tolerations: [{key: virtual-kubelet.io/provider, operator: Exists}], containers: [{name: c, image: web}]}}`))
	require.Error(t, leads(t, second), "no process leads until all of this exists")

	eventually(t, func() error { return leads(t, second) })
	assert.Equal(t, virtualNode, onNode(t, ns, "no-room"), "the toleration")
	eventOf(t, ns, "no-room", "BurstAllowed")
	assert.Equal(t, corev1.EventTypeWarning, eventOf(t, ns, "malformed", "InvalidPolicy").Type)
	assert.NotEqual(t, virtualNode, onNode(t, ns, "malformed"))
	for _, pod := range pods(t, ns, 3) {
		if pod.Labels["app"] != "x" {
			continue
		}
		assert.Equal(t, virtualNode, onNode(t, ns, pod.Name))
		eventually(t, func() error {
			if cost := get(t, ns, pod.Name).Annotations[policy.DeletionCostAnnotation]; cost != cloudCost {
				return fmt.Errorf("Pod %s has the cost %q", pod.Name, cost)
			}
			return nil
		})
	}
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_tolerations_added_total"), 0)
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_ranks_written_total"), 0)
	assert.InDelta(t, 1, second.metric(t, "spillway_admission_pods_explained_total", "InvalidPolicy"), 0)
}
