package kube

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func TestREST(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, []byte(kubeconfig), 0o600))
	rest, err := Config{Kubeconfig: file, QPS: 7, Burst: 9}.REST("extender")
	require.NoError(t, err)
	assert.Equal(t, "https://127.0.0.1:6443", rest.Host)
	assert.Equal(t, "secret", rest.BearerToken)
	assert.Equal(t, float32(7), rest.QPS)
	assert.Equal(t, 9, rest.Burst)
	assert.Equal(t, "spillway-extender", rest.UserAgent)
}

func TestRESTSaysWhatIsWrong(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // Not in a Pod.
	t.Setenv("KUBECONFIG", "/elsewhere")    // Only the configuration counts.
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.WriteFile(broken, []byte("{"), 0o600))
	cases := map[string]struct {
		kubeconfig string
		want       string
	}{
		"a file that is missing":    {"nowhere.yaml", `reading kubeconfig "nowhere.yaml"`},
		"a file that is none":       {broken, "reading kubeconfig"},
		"no file, and not in a Pod": {"", "reading the service account of the Pod (outside a Pod set --kubeconfig)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := Default()
			config.Kubeconfig = tc.kubeconfig
			_, err := config.REST("extender")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestValidate(t *testing.T) {
	require.NoError(t, Default().Validate(field.NewPath("kube")).ToAggregate())
	err := Config{QPS: -1, Burst: 0}.Validate(field.NewPath("kube")).ToAggregate()
	require.ErrorContains(t, err, "kube.qps: Invalid value: -1: must be above zero")
	require.ErrorContains(t, err, "kube.burst: Invalid value: 0: must be above zero")
	require.ErrorContains(
		t,
		Config{QPS: float32(math.NaN()), Burst: 1}.Validate(field.NewPath("kube")).ToAggregate(),
		"kube.qps: Invalid value: NaN",
	)
}

func TestAddFlags(t *testing.T) {
	config := Default()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	require.NoError(t, flags.Parse([]string{"--kubeconfig=f", "--kube-api-burst=3"}))
	assert.Equal(t, Config{Kubeconfig: "f", QPS: 200, Burst: 3}, config)
}

func TestStripManagedFields(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
	stripped, err := StripManagedFields(pod)
	require.NoError(t, err)
	assert.Equal(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, stripped)
	other, err := StripManagedFields("a tombstone")
	require.NoError(t, err)
	assert.Equal(t, "a tombstone", other, "what is not an object stays")
}
