package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// account has values of the form of real ones.
var account = ccisim.Credential{
	AccessKey: "HPUAXXEXAMPLE1234567", SecretKey: "a-simulated-secret-key", DomainID: "f9e8d7c6b5a493827160f5e4d3c2b1a0",
	ProjectID: "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
}

// newCloud starts a cloud whose Pods do not end before the checks do.
func newCloud(t *testing.T, changes ...func(*ccisim.Config)) *cloudtest.Cloud {
	t.Helper()
	return cloudtest.New(t, append(changes, func(c *ccisim.Config) {
		c.RunTime, c.BookmarkInterval = time.Hour, 50*time.Millisecond
		c.Credentials = append(c.Credentials, account)
	})...)
}

// keysFile writes the keys of the account to a file.
func keysFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n",
		account.AccessKey, account.SecretKey), 0o600))
	return file
}

// settings returns the configuration of a user of the cloud.
func settings(t *testing.T, cloud *cloudtest.Cloud) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.CCI.Region, cfg.CCI.Endpoint, cfg.CCI.IAMEndpoint = "sim-1", cloud.URL, cloud.URL
	cfg.CCI.ProjectID, cfg.CCI.DomainID = account.ProjectID, account.DomainID
	cfg.CCI.SubnetIDs, cfg.CCI.SecurityGroupIDs = []string{"subnet"}, []string{"group"}
	cfg.CCI.CredentialsFile, cfg.CCI.QPS, cfg.CCI.Burst = keysFile(t), 1000, 1000
	return cfg
}

// options are those of a run with short waits.
func options() Options {
	return Options{
		Create: true, ID: "1", Image: "registry.test/tools/busybox", Poll: 5 * time.Millisecond, WatchTime: time.Second,
	}
}

func examine(t *testing.T, cloud *cloudtest.Cloud, o Options) *Report {
	t.Helper()
	d, err := New(settings(t, cloud), o)
	require.NoError(t, err)
	report, err := d.Run(t.Context())
	require.NoError(t, err)
	return report
}

func outcomeOf(t *testing.T, report *Report, name string) CheckReport {
	t.Helper()
	i := slices.IndexFunc(report.Checks, func(c CheckReport) bool { return c.Check == name })
	require.GreaterOrEqual(t, i, 0, "%s has run", name)
	return report.Checks[i]
}

func codesOf(report *Report, check string) []diagnosis.Code {
	var codes []diagnosis.Code
	for i := range report.Findings {
		if report.Findings[i].Check == check {
			codes = append(codes, report.Findings[i].Code)
		}
	}
	return codes
}

func TestARunWithoutCreateCreatesNothing(t *testing.T) {
	cloud := newCloud(t)
	o := options()
	o.Create = false
	report := examine(t, cloud, o)
	assert.Zero(t, report.Findings.Count(diagnosis.Error), report.Findings)
	for _, count := range cloud.Requests() {
		if count.Resource != "tokens" {
			assert.Contains(t, []string{"get", "list"}, count.Verb, count.Resource)
		}
	}
	var text bytes.Buffer
	report.PrintText(&text)
	assert.Contains(t, text.String(), "Nothing was created in the cloud. With --create")
}

func TestABrokenStepDoesNotStopOthers(t *testing.T) {
	cloud := newCloud(t)
	for _, path := range []string{"/log$", "/v1/agency$", "/configmaps$"} {
		cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "", Path: path, Status: 418, Message: "no tea"})
	}
	report := examine(t, cloud, options())
	assert.Equal(t, Outcome(diagnosis.Error), outcomeOf(t, report, "data").Outcome)
	assert.Equal(t, []diagnosis.Code{CodeCreationRefused}, codesOf(report, "data"))
	assert.Equal(t, CheckReport{"pod", Skipped, "needs data"}, outcomeOf(t, report, "pod"))
	for _, name := range []string{"network", "watch-expired", "impossible-size", "cleanup"} {
		assert.Equal(t, Passed, outcomeOf(t, report, name).Outcome, name)
	}
	assert.Empty(t, cloud.Namespaces())
}

func TestEachFaultOfTheCloudHasItsCode(t *testing.T) {
	for name, test := range map[string]struct {
		fault ccisim.Fault
		check string
		want  diagnosis.Code
	}{
		"no network becomes ready": {ccisim.Fault{Kind: ccisim.NetworkFailed}, "network", CodeNetworkFailed},
		"no address is free":       {ccisim.Fault{Kind: ccisim.IPInsufficient}, "network", CodeNoFreeAddress},
		"no capacity":              {ccisim.Fault{Kind: ccisim.SoldOut}, "pod", CodePodNotRunning},
		"images are not pulled":    {ccisim.Fault{Kind: ccisim.ImagePull}, "pod", CodeImageNotPulled},
		"the account is in arrears": {
			ccisim.Fault{Kind: ccisim.Arrears, Verb: "create"}, "namespace", CodeAccountBlocked,
		},
		"a permission is missing": {ccisim.Fault{
			Kind: ccisim.ServerError, Verb: "create", Path: "/pods$", Status: 403, ErrorCode: "CCI.01.403105",
		}, "pod", CodePermissionMissing},
		"the quota of namespaces is used up": {ccisim.Fault{
			Kind: ccisim.ServerError, Verb: "create", Path: "/namespaces$", Status: 400, ErrorCode: "CCI.02.400106",
		}, "namespace", CodeNamespaceQuota},
		"a firewall answers": {ccisim.Fault{
			Kind: ccisim.ServerError, Path: "/apis$", Status: 403, HTML: true, Message: "blocked",
		}, "key", CodeAccessRefused},
		"an error of the service": {ccisim.Fault{
			Kind: ccisim.ServerError, Path: "/apis/yangtse/v2$", Status: 500,
		}, "discovery", CodeStepFailed},
		"the log is not served": {
			ccisim.Fault{Kind: ccisim.ServerError, Verb: "log", Status: 404}, "log", CodeNoLog,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t)
			cloud.Fault(t, test.fault)
			o := options()
			o.StepTimeout = 5 * time.Second // Some Pods never run.
			report := examine(t, cloud, o)
			assert.Equal(t, []diagnosis.Code{test.want}, codesOf(report, test.check), report.Checks)
			assert.Empty(t, cloud.Namespaces(), "nothing is left")
		})
	}
}

func TestAnInterruptedRunRemovesWhatItHasCreated(t *testing.T) {
	cloud := newCloud(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut})
	ctx, cancel := context.WithCancel(t.Context())
	o := options()
	d, err := New(settings(t, cloud), o)
	require.NoError(t, err)
	done := make(chan error, 1)
	var report *Report
	go func() {
		var err error
		report, err = d.Run(ctx)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(cloud.PodsEver()) == 1 }, cloudtest.Timeout, cloudtest.Tick)
	assert.NotEmpty(t, cloud.Namespaces())
	cancel()
	require.EqualError(t, <-done, "interrupted before all checks were done")
	assert.Equal(t, CheckReport{"pod", Skipped, "interrupted"}, outcomeOf(t, report, "pod"))
	assert.Equal(t, CheckReport{"watch", Skipped, "interrupted"}, outcomeOf(t, report, "watch"))
	assert.Equal(t, Passed, outcomeOf(t, report, "cleanup").Outcome)
	assert.Empty(t, cloud.Namespaces())
	assert.Zero(t, report.Findings.Count(diagnosis.Error), report.Findings)
}

// A creation whose answer is lost may have happened.
func TestANamespaceWhoseCreationGotNoAnswerIsRemoved(t *testing.T) {
	cloud := newCloud(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Path: "/namespaces$"})
	report := examine(t, cloud, options())
	assert.Equal(t, []diagnosis.Code{CodeStepFailed}, codesOf(report, "namespace"))
	assert.Equal(t, "removed: spillway-doctor-1", outcomeOf(t, report, "cleanup").Note)
	assert.Empty(t, cloud.Namespaces())
}

func TestANamespaceWhoseCreationWasInterruptedIsRemoved(t *testing.T) {
	cloud := newCloud(t)
	// The namespace exists, and is never Active for the client.
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Path: "/networks$"})
	ctx, cancel := context.WithCancel(t.Context())
	o := options()
	o.Progress = func(c CheckReport) {
		if c.Check == "network" {
			cancel()
		}
	}
	d, err := New(settings(t, cloud), o)
	require.NoError(t, err)
	report, err := d.Run(ctx)
	require.Error(t, err)
	assert.Equal(t, "removed: spillway-doctor-1", outcomeOf(t, report, "cleanup").Note)
	assert.Empty(t, cloud.Namespaces())
}

func TestALaterRunRemovesWhatAKilledOneHasLeft(t *testing.T) {
	cloud := newCloud(t)
	create := func(name, until string) {
		_, err := cloud.Client.CreateNamespace(t.Context(), &cci.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{policy.DoctorLabel: "9"},
			Annotations: map[string]string{policy.DoctorUntilAnnotation: until},
		}})
		require.NoError(t, err)
	}
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	create("spillway-doctor-9", past.Format(time.RFC3339))
	create("spillway-doctor-running", future.Format(time.RFC3339))
	create("of-others", past.Format(time.RFC3339))
	create("spillway-doctor-without-time", "")

	o := options()
	o.Create = false
	report := examine(t, cloud, o)
	assert.Equal(t, []diagnosis.Code{CodeLeftByEarlierRun}, codesOf(report, "leftovers"))
	assert.Len(t, cloud.Namespaces(), 4, "a run without --create removes nothing")

	report = examine(t, cloud, options())
	assert.Equal(t, "removed: spillway-doctor-1, spillway-doctor-9", outcomeOf(t, report, "cleanup").Note)
	assert.ElementsMatch(t, []string{"of-others", "spillway-doctor-running", "spillway-doctor-without-time"},
		cloud.Namespaces())
}

func TestWhatCannotBeRemovedIsReported(t *testing.T) {
	cloud := newCloud(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "delete", Path: "/namespaces/[^/]+$", Status: 403,
		ErrorCode: "CCI.01.403107", Message: "you may not"})
	report := examine(t, cloud, options())
	assert.Equal(t, []diagnosis.Code{CodeLeftBehind}, codesOf(report, "cleanup"))
	assert.Equal(t, []string{"spillway-doctor-1"}, cloud.Namespaces())
	assert.Zero(t, cloud.CountPods("spillway-doctor-1", "Running"), "no Pod is left that is billed")
}

func TestCodesAreDocumented(t *testing.T) {
	seen := map[diagnosis.Code]bool{}
	last := diagnosis.Code("")
	for _, kind := range Codes() {
		assert.Regexp(t, regexp.MustCompile(`^DR\d{3}$`), kind.Code)
		assert.False(t, seen[kind.Code], kind.Code)
		assert.Less(t, last, kind.Code, "in their order")
		seen[kind.Code], last = true, kind.Code
		assert.NotEmpty(t, kind.Title)
		assert.True(t, strings.HasSuffix(kind.Meaning, "."), kind.Code)
		if kind.Severity == diagnosis.Error {
			assert.NotEmpty(t, kind.Mend, "%s: an error can be mended", kind.Code)
		}
	}
}

func TestLostFields(t *testing.T) {
	for name, test := range map[string]struct {
		sent, kept string
		want       []string
	}{
		"nothing":                     {`{"a":1,"b":["x"]}`, `{"a":1,"b":["x"],"c":2}`, nil},
		"a field":                     {`{"a":{"b":1,"c":2}}`, `{"a":{"c":2}}`, []string{"a.b"}},
		"another value":               {`{"a":[{"b":1}]}`, `{"a":[{"b":2}]}`, []string{"a[0].b"}},
		"an equal quantity":           {`{"a":"500m","b":"1Gi"}`, `{"a":"0.5","b":"1024Mi"}`, nil},
		"an element by its name":      {`{"a":[{"name":"x","v":1}]}`, `{"a":[{"name":"y"},{"name":"x","v":1}]}`, nil},
		"a text elsewhere in a list":  {`{"a":["x"]}`, `{"a":["y","x"]}`, nil},
		"a list that is shorter":      {`{"a":["x","y"]}`, `{"a":["x"]}`, []string{"a"}},
		"an object that became a row": {`{"a":{"b":1}}`, `{"a":"b"}`, []string{"a"}},
		"an empty object":             {`{"a":{"b":{}}}`, `{"a":{}}`, []string{"a.b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Lost([]byte(test.sent), []byte(test.kept))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	_, err := Lost([]byte("{"), []byte("{}"))
	require.ErrorContains(t, err, "decoding what was sent")
}

// logs writes no logs.
func logs(logging.Config) (*slog.Logger, error) { return slog.New(slog.DiscardHandler), nil }

func TestTheCommandRejectsWrongFlags(t *testing.T) {
	valid := []string{"--cci-region=r", "--cci-project-id=p", "--cci-credentials-file=f"}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no region":               {valid[1:], "cci.region"},
		"no project":              {valid[:1], "cci.projectID"},
		"no key":                  {valid[:2], "cci.credentialsFile"},
		"an unknown form":         {append(valid, "-o", "xml"), "output"},
		"a network without IDs":   {append(valid, "--create"), "cci.subnetIDs"},
		"a network without group": {append(valid, "--create", "--cci-subnet-id=s"), "cci.securityGroupIDs"},
		"no time":                 {append(valid, "--step-timeout=1ms"), "step-timeout"},
		"an address without TLS":  {append(valid, "--vpc-endpoint=http://vpc.example"), "vpc-endpoint"},
		"CCI 1.0":                 {append(valid, "--cci-version=1.0"), `"1.0": vnode doctor checks CCI 2.0 only`},
		"a Service without a Pod": {append(valid, "--service-address=10.96.0.1:443"), "service-address: Forbidden"},
		"a Service without a port": {
			append(valid, "--service-address=10.96.0.1"), `service-address: Invalid value: "10.96.0.1": must be a ClusterIP`,
		},
		"a Service by a name without DNS": {append(valid, "--service-name=web.shop.svc.cluster.local"), "cluster-dns"},
		"a name of a Service that is none": {append(valid, "--service-name=web;id", "--cluster-dns=10.96.0.10"),
			"service-name: Invalid"},
		"a DNS that has no address": {append(valid, "--cluster-dns=dns"), "cluster-dns[0]: Invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Command(t.Context(), test.args, &bytes.Buffer{}, &bytes.Buffer{}, logs)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestTheCommandPrintsJSONAndWritesATranscript(t *testing.T) {
	cloud := newCloud(t)
	file := filepath.Join(t.TempDir(), "transcript.jsonl")
	args := []string{
		"--cci-region=sim-1", "--cci-project-id", account.ProjectID, "--cci-endpoint", cloud.URL,
		"--iam-endpoint", cloud.URL, "--cci-credentials-file", keysFile(t), "-o", "json", "--record", file,
	}
	var out, progress bytes.Buffer
	require.NoError(t, Command(t.Context(), args, &out, &progress, logs))
	var report Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	assert.False(t, report.Created)
	assert.NotEmpty(t, report.Checks)
	assert.Contains(t, progress.String(), "discovery")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(content), `"path":"/apis/cci/v2"`)

	require.NoError(t, cloud.SetCredentials([]ccisim.Credential{{AccessKey: "other", SecretKey: "other"}}))
	out.Reset()
	err = Command(t.Context(), args, &out, &progress, logs)
	require.EqualError(t, err, "errors that the doctor has found: 1")
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	assert.Equal(t, CodeKeyRefused, report.Findings[0].Code)
}

func TestAServiceThatIsNotThereIsReported(t *testing.T) {
	cloud := newCloud(t)
	cfg := settings(t, cloud)
	cfg.CCI.Endpoint = "http://127.0.0.1:1"
	d, err := New(cfg, Options{})
	require.NoError(t, err)
	report, err := d.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []diagnosis.Code{CodeNoConnection}, codesOf(report, "connection"))
	assert.Equal(t, Passed, outcomeOf(t, report, "connection-iam").Outcome)
	assert.Equal(t, 1, len(report.Findings), "one cause has one finding: %v", report.Findings)
}
