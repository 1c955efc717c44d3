package command

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
)

// execute runs the command and returns what it prints.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SetArgs(args)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// kubeconfig returns the path of a kubeconfig for an API server that has one ConfigMap, or none if it is nil.
func kubeconfig(t *testing.T, configMap *corev1.ConfigMap) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if configMap == nil || r.URL.Path != "/api/v1/namespaces/kube-public/configmaps/spillway" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure",` +
				`"reason":"NotFound","code":404}`))
			return
		}
		assert.NoError(t, json.NewEncoder(w).Encode(configMap))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"apiVersion": "v1", "kind": "Config", "current-context": "c", ` +
		`"users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],` +
		`"clusters": [{"name": "c", "cluster": {"server": "` + server.URL + `"}}]}`
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestVersionNamesThePluginAndTheInstallation(t *testing.T) {
	configMap, err := installation.Installation{
		Version: "1.2.3", Namespace: "spillway-system", Policy: policy.DefaultConfig(),
	}.ConfigMap()
	require.NoError(t, err)
	got, err := execute(t, "version", "--kubeconfig", kubeconfig(t, configMap))
	require.NoError(t, err)
	assert.Equal(t, run.Version("kubectl-spillway")+"\nspillway 1.2.3 in namespace spillway-system\n", got)
}

func TestVersionOfAClusterWithoutSpillwaySaysWhatToDo(t *testing.T) {
	_, err := execute(t, "version", "--kubeconfig", kubeconfig(t, nil))
	assert.ErrorContains(t, err, "install Spillway")
	got, err := execute(t, "version", "--client")
	require.NoError(t, err, "without a cluster")
	assert.Equal(t, run.Version("kubectl-spillway")+"\n", got)
}

func TestAWrongCommandLineIsAUsageError(t *testing.T) {
	_, err := execute(t, "version", "--cluent")
	require.ErrorIs(t, err, run.ErrUsage)
	assert.ErrorContains(t, err, "kubectl spillway version --help")
	_, err = execute(t, "unknown")
	require.Error(t, err)
	assert.ErrorContains(t, err, "unknown")
}

func TestDrainBackNeedsPodsOrAll(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing":            {},
		"both":               {"--all", "deployment/cart"},
		"two ends":           {"--all", "--dry-run", "--cancel"},
		"a negative timeout": {"--all", "--timeout=-1s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := execute(t, append([]string{"drain-back", "--kubeconfig", kubeconfig(t, nil)}, args...)...)
			assert.ErrorIs(t, err, run.ErrUsage)
		})
	}
	_, err := execute(t, "drain-back", "--all", "--kubeconfig", kubeconfig(t, nil))
	require.ErrorContains(t, err, "install Spillway")
	assert.NotErrorIs(t, err, run.ErrUsage)
}

// kubectl calls the plugin with __complete (kubectl_complete-spillway).
func TestCompletions(t *testing.T) {
	config := kubeconfig(t, nil)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a command":            {[]string{"sta"}, "status\tLocal, cloud and waiting Pods of each workload"},
		"a kind":               {[]string{"why", "stat"}, "statefulset\n"},
		"the format":           {[]string{"status", "--output", ""}, "json\nyaml\n"},
		"a flag":               {[]string{"status", "--all"}, "--all-namespaces\tworkloads of all namespaces"},
		"nothing of a cluster": {[]string{"why", "pod", "--kubeconfig", config, ""}, ":4\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := execute(t, append([]string{"__complete"}, test.args...)...)
			require.NoError(t, err)
			assert.Contains(t, got, test.want)
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got, err := execute(t, "completion", shell)
		require.NoError(t, err)
		assert.Contains(t, got, "kubectl-spillway", shell)
	}
}

func TestDoctorExitsWithAnErrorIfItFindsOne(t *testing.T) {
	got, err := execute(t, "doctor", "--kubeconfig", kubeconfig(t, nil))
	require.ErrorContains(t, err, "errors that the doctor has found: 1")
	assert.Contains(t, got, "ERROR SP101 the installation is not described")
	got, err = execute(t, "doctor", "-o", "json", "--kubeconfig", kubeconfig(t, nil))
	require.Error(t, err)
	var report struct {
		Findings []struct{ Code, Severity string }
	}
	require.NoError(t, json.Unmarshal([]byte(got), &report))
	assert.Equal(t, "SP101", report.Findings[0].Code)
	_, err = execute(t, "doctor", "-o", "xml", "--kubeconfig", kubeconfig(t, nil))
	assert.ErrorIs(t, err, run.ErrUsage)
}
