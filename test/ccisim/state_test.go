package ccisim_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
)

func withState(file string) func(*ccisim.Config) {
	return func(c *ccisim.Config) { c.StateFile = file }
}

// copyState copies the file, as a kill at this moment would leave it.
func copyState(t *testing.T, from string) string {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	to := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(to, data, 0o600))
	return to
}

func TestStateSurvivesKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	before := newNamespaceEnv(t, withState(file))
	before.createPod("web", withLabels("app", "web"), withAnnotations("k", "v"))
	running := before.untilPhase("web", "Running")
	before.createPod("gone")
	before.untilPhase("gone", "Running")
	before.want(http.StatusOK, "DELETE", podsPath+"/gone?gracePeriodSeconds=0", nil)
	before.untilGone("gone")
	before.createPod("ending", withAnnotations(behavior+"stop-seconds", "never"))
	before.untilPhase("ending", "Running")
	before.want(http.StatusOK, "DELETE", podsPath+"/ending?gracePeriodSeconds=1", nil)
	before.createPod("job", withSpec("restartPolicy", "Never"), withAnnotations(behavior+"run-seconds", "1"))
	before.untilPhase("job", "Running")
	before.fault(ccisim.Fault{Kind: ccisim.SoldOut, Path: "/soldout$"})
	before.createPod("soldout")
	require.NoError(t, before.sim.SetPolicies(ccisim.Policies{Fields: ccisim.RefuseFields}))
	meta, _ := before.list(podsPath)

	after := newEnv(t, withState(copyState(t, file)))
	pod := after.pod("web")
	assert.Equal(t, running.UID, pod.UID)
	assert.Equal(t, running.Status.PodIP, pod.Status.PodIP)
	assert.Equal(t, running.Spec, pod.Spec)
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
	assert.Equal(t, running.Status.ContainerStatuses[0].ContainerID, pod.Status.ContainerStatuses[0].ContainerID)
	after.want(http.StatusNotFound, "GET", podsPath+"/gone", nil)
	after.untilGone("ending")
	after.untilPhase("job", "Succeeded")
	assert.Equal(t, corev1.PodPending, after.pod("soldout").Status.Phase)
	assert.Equal(t, before.sim.Faults(), after.sim.Faults())
	assert.Equal(t, ccisim.RefuseFields, after.sim.Policies().Fields)

	records := map[string]ccisim.PodRecord{}
	for _, record := range after.sim.PodsEver() {
		records[record.Name] = record
	}
	assert.Len(t, records, 5)
	assert.Equal(t, "web", records["web"].Labels["app"])
	assert.NotNil(t, records["gone"].Deleted, "a deleted Pod is still recorded")
	assert.Nil(t, records["web"].Deleted)

	t.Run("old versions are too old", func(t *testing.T) {
		assert.Equal(t, "ERROR", after.watch(podsPath+"?watch=1&resourceVersion="+meta.ResourceVersion).next().Type)
		fresh, _ := after.list(podsPath)
		assert.Greater(t, version(t, fresh.ResourceVersion), version(t, meta.ResourceVersion))
	})
	t.Run("addresses stay unique", func(t *testing.T) {
		after.createPod("new")
		assert.NotEqual(t, running.Status.PodIP, after.untilPhase("new", "Running").Status.PodIP)
	})
	t.Run("running containers can write logs", func(t *testing.T) {
		require.NoError(t, after.sim.AppendLog("ns", "web", "web", "again"))
		assert.Equal(t, "again\n", string(after.want(200, "GET", podsPath+"/web/log", nil).body))
	})
	t.Run("faults can be reset", func(t *testing.T) {
		after.sim.ResetFaults()
		after.untilPhase("soldout", "Running")
	})
}

func TestIncompleteLineIsIgnored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	before := newNamespaceEnv(t, withState(file))
	before.createPod("web")
	before.untilPhase("web", "Running")
	torn := copyState(t, file)
	f, err := os.OpenFile(torn, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"op":"put","resource":"pods","object":{"kind":"Po`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	after := newEnv(t, withState(torn))
	assert.Equal(t, corev1.PodRunning, after.pod("web").Status.Phase)
	after.createPod("more")
	again := newEnv(t, withState(copyState(t, torn)))
	assert.Equal(t, "more", again.pod("more").Name)
}

func TestInvalidStateFile(t *testing.T) {
	cases := map[string]string{
		"not JSON":                    "hello\n",
		"an unknown line":             `{"op":"dance"}` + "\n",
		"an unknown resource":         `{"op":"put","resource":"jobs","object":{}}` + "\n",
		"an object that is a string":  `{"op":"put","resource":"pods","object":"x"}` + "\n",
		"no object":                   `{"op":"put","resource":"pods"}` + "\n",
		"an object without a version": `{"op":"put","resource":"pods","object":{"metadata":{"name":"a"}}}` + "\n",
		"no Pod":                      `{"op":"pod"}` + "\n",
		"no policies":                 `{"op":"policies"}` + "\n",
		"an unknown fault":            `{"op":"faults","faults":[{"kind":"meteor"}]}` + "\n",
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state.json")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			cfg := ccisimtest.Quick(account)
			cfg.StateFile = file
			_, err := ccisim.New(cfg)
			require.ErrorContains(t, err, file)
			assert.ErrorContains(t, err, "line 1")
			left, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, content, string(left), "an invalid file is not changed")
		})
	}
}

func TestStateFileIsRewritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	b := newNamespaceEnv(t, withState(file))
	big := object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "big"},
		"data": object{"k": strings.Repeat("x", 1<<20)}}
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/configmaps", big)
	for range 12 {
		b.want(http.StatusOK, "PUT", "/apis/cci/v2/namespaces/ns/configmaps/big", big)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(10<<20), "12 MB were written")
	after := newEnv(t, withState(copyState(t, file)))
	var config ccisim.ConfigMap
	after.get("/apis/cci/v2/namespaces/ns/configmaps/big", &config)
	assert.Len(t, config.Data["k"], 1<<20)
	left, err := filepath.Glob(file + ".*")
	require.NoError(t, err)
	assert.Equal(t, []string{file + ".cci1"}, left, "no temporary file is left")
}

func TestUnwritableStateFile(t *testing.T) {
	cfg := ccisimtest.Quick(account)
	cfg.StateFile = filepath.Join(t.TempDir(), "none", "state.json")
	_, err := ccisim.New(cfg)
	assert.ErrorContains(t, err, "state.json")
}

func TestConfigValidation(t *testing.T) {
	err := func() error {
		_, err := ccisim.New(ccisim.Config{
			Credentials: []ccisim.Credential{{AccessKey: "a"},
				{AccessKey: "a", SecretKey: "s"}}, SubnetCIDR: "10.0.0.0/31", StartDelay: -time.Second,
			HistoryLimit: -1, Policies: ccisim.Policies{Fields: "keep", Events: "some"},
		})
		return err
	}()
	for _, message := range []string{"credentials[0].secretKey", `credentials[1].accessKey: Duplicate value: "a"`,
		`"10.0.0.0/31"`, "startDelay", "historyLimit", `policies.fields: Unsupported value: "keep"`,
		`policies.events: Unsupported value: "some"`} {
		assert.ErrorContains(t, err, message)
	}
	_, err = ccisim.New(ccisim.Config{})
	assert.ErrorContains(t, err, "at least one is required")
	_, err = ccisim.New(ccisim.Config{Credentials: []ccisim.Credential{account}, SubnetCIDR: "here"})
	assert.ErrorContains(t, err, `"here"`)
	_, err = ccisim.New(ccisim.Config{Credentials: []ccisim.Credential{account}, Subnets: []ccisim.Subnet{
		{VPCID: "a", NeutronID: "a", CIDR: "there"}, {VPCID: "b", NeutronID: "b", CIDR: "10.1.0.0/16"},
		{VPCID: "c", NeutronID: "c", CIDR: "10.1.2.0/24"}, {VPCID: "d", NeutronID: "d", CIDR: "10.246.0.0/24"},
	}})
	for _, message := range []string{
		`subnets[0].cidr: Invalid value: "there"`, `subnets[2].cidr: Invalid value: "10.1.2.0/24": must not overlap`,
		`subnets[3].cidr: Invalid value: "10.246.0.0/24": must not overlap`,
	} {
		assert.ErrorContains(t, err, message)
	}
	assert.NotContains(t, err.Error(), "subnets[1]")
}

func TestCredentialsFile(t *testing.T) {
	cases := map[string]struct {
		content string
		want    []ccisim.Credential
		message string
	}{
		"one credential": {"accessKey: a\nsecretKey: s\n", []ccisim.Credential{{AccessKey: "a", SecretKey: "s"}}, ""},
		"a list": {
			"- accessKey: a\n  secretKey: s\n  projectId: p\n  domainId: d\n" +
				"- accessKey: b\n  secretKey: t\n  securityToken: x\n  authToken: tok\n",
			[]ccisim.Credential{
				{AccessKey: "a", SecretKey: "s", ProjectID: "p", DomainID: "d"},
				{AccessKey: "b", SecretKey: "t", SecurityToken: "x", AuthToken: "tok"},
			},
			"",
		},
		"a misspelled key": {"acesskey: a\nsecretKey: hidden\n", nil, "accessKey, secretKey, projectId"},
		"not YAML":         {"\t{hidden", nil, "must be YAML"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "credentials.yaml")
			require.NoError(t, os.WriteFile(file, []byte(tc.content), 0o600))
			got, err := ccisim.LoadCredentials(file)
			if tc.message != "" {
				require.ErrorContains(t, err, tc.message)
				assert.NotContains(t, err.Error(), "hidden")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
	_, err := ccisim.LoadCredentials("nowhere.yaml")
	assert.ErrorContains(t, err, "nowhere.yaml")
}

func TestCredentialWithoutProjectUsesProjectOfRequest(t *testing.T) {
	anyProject := ccisim.Credential{AccessKey: "a", SecretKey: "s"}
	b := newEnv(t, func(c *ccisim.Config) { c.Credentials = []ccisim.Credential{anyProject} })
	b.credential.ProjectID = "named"
	var ns ccisim.Namespace
	require.NoError(t, json.Unmarshal(b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces",
		namespaceBody("ns")).body, &ns))
	assert.Equal(t, "named", ns.Annotations["tenant.kubernetes.io/project-id"])
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, sprint(format, account), account.SecretKey)
	}
}
