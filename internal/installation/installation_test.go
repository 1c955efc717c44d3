package installation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

func TestAnInstallationIsReadAsItWasWritten(t *testing.T) {
	want := installation.Installation{
		Version: "1.2.3", Namespace: "spillway-system", Policy: policy.DefaultConfig(),
		Scheduler: installation.Scheduler{Name: "spillway-scheduler", OtherNames: []string{"tke"}},
	}
	want.Policy.CloudLimits = "pods=5"
	want.Prices.Currency, want.Prices.GeneralComputing.CoreHour = "CNY", "0.21"
	configMap, err := want.ConfigMap()
	require.NoError(t, err)
	got, err := installation.Read(t.Context(), fake.NewClientset(configMap))
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestWhatANewerChartAddsIsIgnored(t *testing.T) {
	configMap, err := installation.Installation{}.ConfigMap()
	require.NoError(t, err)
	configMap.Data["installation.yaml"] = "version: 9.0.0\nnewField: {a: 1}\n" +
		"policy: {newRule: true, defaultSize: \"1_2\"}\n"
	got, err := installation.Read(t.Context(), fake.NewClientset(configMap))
	require.NoError(t, err)
	want := policy.DefaultConfig()
	want.DefaultSize = "1_2"
	assert.Equal(t, installation.Installation{Version: "9.0.0", Policy: want}, got, "others have their defaults")
}

func TestWithoutAnInstallationTheErrorSaysWhatToDo(t *testing.T) {
	_, err := installation.Read(t.Context(), fake.NewClientset())
	require.ErrorAs(t, err, &installation.ErrMissing{})
	assert.ErrorContains(t, err, "ConfigMap kube-public/spillway")
	for name, text := range map[string]string{"empty": "", "no YAML": "a: [", "a wrong type": "policy: 3"} {
		t.Run(name, func(t *testing.T) {
			configMap, err := installation.Installation{}.ConfigMap()
			require.NoError(t, err)
			configMap.Data["installation.yaml"] = text
			_, err = installation.Read(t.Context(), fake.NewClientset(configMap))
			assert.ErrorContains(t, err, "installation.yaml of ConfigMap kube-public/spillway")
		})
	}
}

func TestTheSchedulersThatCallTheExtender(t *testing.T) {
	got := installation.Scheduler{Name: "spillway", OtherNames: []string{"tke"}, MarkerResource: true}.Schedulers()
	assert.Equal(t, schedulers.Schedulers{Assigned: "spillway", Others: []string{"tke"}}, got)
}
