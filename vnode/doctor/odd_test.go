package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// programVariable makes the test binary run the command: signals, pipes and the environment are those of a process.
const programVariable = "SPILLWAY_TEST_DOCTOR"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(run.Main(func(ctx context.Context, args []string) error {
			return Command(ctx, args, os.Stdout, os.Stderr, logs)
		}))
	}
	os.Exit(m.Run())
}

// arguments are those of a user of the cloud at an address.
func arguments(t *testing.T, endpoint string) []string {
	t.Helper()
	return []string{
		"--cci-region=sim-1", "--cci-project-id", account.ProjectID, "--cci-domain-id", account.DomainID,
		"--cci-endpoint", endpoint, "--iam-endpoint", endpoint,
		"--cci-credentials-file", keysFile(t), "--cci-subnet-id=subnet", "--cci-security-group-id=group",
	}
}

// process is the command as a process.
func process(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), programVariable+"=1"), env...)
	return cmd
}

// inFrontOf serves a cloud behind a handler that may answer instead. It returns its URL.
func inFrontOf(t *testing.T, cloud *cloudtest.Cloud, answer func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	u, err := url.Parse(cloud.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport = &http.Transport{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			r.Host = u.Host
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAnswersOfSomethingElseAreReportedOnce(t *testing.T) {
	for name, body := range map[string]string{
		"a page to log in": "<html>Please log in</html>", "nothing": "", "a list": "[]", "a text": `"ok"`, "null": "null",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, newCloud(t))
			cfg.CCI.Endpoint = inFrontOf(t, newCloud(t), func(w http.ResponseWriter, _ *http.Request) bool {
				_, err := io.WriteString(w, body)
				return err == nil
			})
			d, err := New(cfg, options())
			require.NoError(t, err)
			report, err := d.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, []diagnosis.Code{CodeNotTheService}, codesOf(report, "key"), report.Findings)
			assert.Len(t, report.Findings, 1, "one cause has one finding")
			require.EqualError(t, report.err(), "errors that the doctor has found: 1")
		})
	}
}

// Answers that never come and connections that are cut have a finding with the time that was waited, and end.
func TestAServiceThatDoesNotAnswerIsReported(t *testing.T) {
	stuck := func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	cut := func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) }
	type answering func(http.ResponseWriter, *http.Request) bool
	at := func(path string, answer answering) answering {
		return func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == path && answer(w, r) }
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		check  string
		want   diagnosis.Code
		words  string
	}{
		"no answer":        {stuck, "connection", CodeNoConnection, "no answer within 1s (cci.requestTimeout)"},
		"a cut connection": {cut, "connection", CodeNoConnection, "EOF"},
		"no answer to a step": {
			at("/apis/yangtse/v2", stuck), "discovery", CodeStepTooSlow, "at most 1s for a request",
		},
		"a cut connection in a step": {at("/apis/yangtse/v2", cut), "discovery", CodeStepFailed, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t, cloudtest.EveryAPI)
			cfg := settings(t, cloud)
			cfg.CCI.Endpoint, cfg.CCI.RequestTimeout.Duration = inFrontOf(t, cloud, test.answer), time.Second
			o := options()
			o.Create = false
			d, err := New(cfg, o)
			require.NoError(t, err)
			report, err := d.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, []diagnosis.Code{test.want}, codesOf(report, test.check), report.Findings)
			assert.Contains(t, report.Findings[0].Message, test.words)
			require.Error(t, report.err(), "what was not checked is not well")
		})
	}
}

func TestChecksWithoutTimeAreReported(t *testing.T) {
	cloud := newCloud(t)
	cfg := settings(t, cloud)
	cfg.CCI.Endpoint = inFrontOf(t, cloud, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/apis/cci/v2" {
			return false
		}
		<-r.Context().Done()
		return true
	})
	o := options()
	o.Timeout = 3 * time.Second
	d, err := New(cfg, o)
	require.NoError(t, err)
	report, err := d.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []diagnosis.Code{CodeStepTooSlow}, codesOf(report, "discovery"), report.Findings)
	assert.Equal(t, []diagnosis.Code{CodeNoTimeLeft}, codesOf(report, "missing-objects"), report.Findings)
	assert.Empty(t, codesOf(report, "events"), "it is said once")
	assert.Equal(t, CheckReport{"events", Skipped, "no time is left"}, outcomeOf(t, report, "events"))
	assert.Contains(t, report.Incomplete, "namespace")
	assert.Equal(t, Passed, outcomeOf(t, report, "cleanup").Outcome, "cleaning up has a time of its own")
	var text bytes.Buffer
	report.PrintText(&text)
	assert.Contains(t, text.String(), "\nNot completed: discovery, missing-objects, ")
}

func TestAKeyWithoutRightsHasOneFindingAndLeavesNothing(t *testing.T) {
	for name, path := range map[string]string{"no rights at all": "", "no right to namespaces": "/namespaces"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t, cloudtest.EveryAPI)
			cloud.Fault(t, ccisim.Fault{
				Kind: ccisim.ServerError, Path: "^/apis.*" + path, Status: 403, ErrorCode: "CCI.01.403105", Message: "no right",
			})
			report := examine(t, cloud, options())
			assert.NotZero(t, report.Findings.Count(diagnosis.Error))
			for i := range report.Findings {
				if f := &report.Findings[i]; f.Severity == diagnosis.Error {
					assert.Equal(t, CodePermissionMissing, f.Code, "nothing can have been left: %v", f)
				}
			}
		})
	}
}

func TestAQuotaWithoutRoomForPodsIsReported(t *testing.T) {
	for _, errs := range []faults.QuotaErrors{faults.KubernetesQuota, faults.PlainQuota} {
		t.Run(string(errs), func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t, func(c *ccisim.Config) { c.Policies.QuotaErrors = errs })
			none := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}
			cloud.Fault(t, ccisim.Fault{Kind: faults.Quota, Hard: none})
			report := examine(t, cloud, options())
			assert.Equal(t, []diagnosis.Code{CodePodQuota}, codesOf(report, "pod"), report.Findings)
			assert.Empty(t, report.Incomplete)
			assert.Empty(t, cloud.Namespaces())
		})
	}
}

func TestTwoRunsAtOnceDoNotDisturbEachOther(t *testing.T) {
	cloud := newCloud(t, cloudtest.EveryAPI)
	reports := make(chan *Report, 2)
	for _, id := range []string{"1", "2"} {
		o := options()
		o.ID = id
		d, err := New(settings(t, cloud), o)
		require.NoError(t, err)
		go func() {
			report, err := d.Run(t.Context())
			assert.NoError(t, err)
			reports <- report
		}()
	}
	for range 2 {
		report := <-reports
		assert.Zero(t, report.Findings.Count(diagnosis.Error)+len(report.Incomplete), report.Findings)
	}
	assert.Empty(t, cloud.Namespaces())
}

// The namespace may be on its way already, because another run deletes it or because an answer was lost.
func TestANamespaceThatIsBeingDeletedIsAwaited(t *testing.T) {
	cloud := newCloud(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "delete", Path: "/namespaces/[^/]+$", Times: 1})
	report := examine(t, cloud, options())
	assert.Equal(t, "removed: spillway-doctor-1", outcomeOf(t, report, "cleanup").Note)
	assert.Empty(t, codesOf(report, "cleanup"))
	assert.Empty(t, cloud.Namespaces())
}

func TestAnEndpointOfIPv6Works(t *testing.T) {
	cloud := newCloud(t, cloudtest.EveryAPI)
	listener, err := net.Listen("tcp", "[::1]:0")
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: cloud.Handler()}}
	server.Start()
	t.Cleanup(server.Close)
	cfg := settings(t, cloud)
	cfg.CCI.Endpoint, cfg.CCI.IAMEndpoint = server.URL, server.URL
	d, err := New(cfg, options())
	require.NoError(t, err)
	report, err := d.Run(t.Context())
	require.NoError(t, err)
	assert.Zero(t, report.Findings.Count(diagnosis.Error), report.Findings)
	assert.NotContains(t, []Outcome{Failed, Skipped}, outcomeOf(t, report, "exec").Outcome)
}

func TestWhatTheCloudSaysCannotControlATerminal(t *testing.T) {
	cloud := newCloud(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Path: "^/apis$", Status: 403, Message: "\x1b[2J\x1b]0;x\x07no"})
	var text bytes.Buffer
	o := options()
	o.Progress = Progress(&text)
	report := examine(t, cloud, o)
	report.PrintText(&text)
	assert.Contains(t, text.String(), "[2J")
	assert.NotContains(t, text.String(), "\x1b")
	assert.NotContains(t, text.String(), "\x07")
}

func TestATranscriptReplacesNoOtherFile(t *testing.T) {
	cloud := newCloud(t)
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(notes, []byte("important"), 0o600))
	for name, test := range map[string]struct{ file, want string }{
		"another file": {notes, "exists and is no transcript: name another file"},
		"a directory":  {dir, "is a directory: name a file in it"},
		"a directory that is none": {
			filepath.Join(dir, "none", "t.jsonl"), "name a file in a directory that you may write to",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Command(t.Context(), append(arguments(t, cloud.URL), "--record", test.file), io.Discard, io.Discard, logs)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, test.want)
		})
	}
	kept, err := os.ReadFile(notes)
	require.NoError(t, err)
	assert.Equal(t, "important", string(kept))

	file := filepath.Join(dir, "t.jsonl")
	for range 2 { // A transcript is replaced.
		args := append(arguments(t, cloud.URL), "--record", file)
		require.NoError(t, Command(t.Context(), args, io.Discard, io.Discard, logs))
	}
	_, err = transcript.ReadFile(file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "no temporary file is left")
}

func TestAFullDiskIsReported(t *testing.T) {
	cloud := newCloud(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, full.Close()) })
	err = Command(t.Context(), append(arguments(t, cloud.URL), "--record=/dev/full"), io.Discard, io.Discard, logs)
	require.ErrorContains(t, err, "writing the transcript /dev/full, for which another disk may have more room")
	require.ErrorIs(t, err, syscall.ENOSPC)
	for _, form := range []string{"text", "json"} {
		err = Command(t.Context(), append(arguments(t, cloud.URL), "-o", form), full, io.Discard, logs)
		require.ErrorContains(t, err, "printing the findings: ")
	}
}

func TestKeysThatCannotBeReadAreAnErrorOfUsage(t *testing.T) {
	args := append(arguments(t, "http://127.0.0.1:1"), "--cci-credentials-file=/nowhere/keys.yaml")
	err := Command(t.Context(), args, io.Discard, io.Discard, logs)
	require.ErrorIs(t, err, run.ErrUsage)
	assert.ErrorContains(t, err, "/nowhere/keys.yaml")
}

// A run that is ended in its middle removes what it has created: by Ctrl-C, because the terminal is closed, or because
// the reader of its output has ended.
func TestAProcessThatIsEndedLeavesNothing(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"Ctrl-C": func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(syscall.SIGINT) },
		"a closed terminal": func(cmd *exec.Cmd, _ io.Closer) error {
			return errors.Join(cmd.Process.Signal(syscall.SIGHUP), cmd.Process.Signal(syscall.SIGHUP))
		},
		"a closed pipe": func(_ *exec.Cmd, pipe io.Closer) error { return pipe.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t)
			cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut}) // The Pod waits.
			cmd := process(t, nil, append(arguments(t, cloud.URL), "--create", "--step-timeout=5s", "--timeout=20s")...)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "list ") {
			}
			require.Eventually(t, func() bool { return len(cloud.PodsEver()) == 1 }, cloudtest.Timeout, cloudtest.Tick)
			require.NoError(t, end(cmd, stdout))
			err = cmd.Wait()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 1, exit.ExitCode(), "it has not checked everything")
			assert.Empty(t, cloud.Namespaces())
		})
	}
}

func TestAProxyThatDoesNotWorkIsReportedWithoutItsPassword(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	for name, test := range map[string]struct{ value, want string }{
		"it is not there": {"http://bob:hunter2@127.0.0.1:1", "through the proxy 127.0.0.1:1: "},
		"it refuses the user": {
			strings.Replace(proxy.URL, "http://", "http://bob:hunter2@", 1), "Proxy Authentication Required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "t.jsonl")
			cmd := process(t, []string{"HTTPS_PROXY=" + test.value, "NO_PROXY="},
				append(arguments(t, "https://cci.sim-1.example.test"), "--record", file)...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			require.Error(t, cmd.Run())
			text := strings.Join(strings.Fields(out.String()), " ")
			assert.Contains(t, text, "ERROR DR109")
			assert.Contains(t, text, test.want)
			recorded, err := os.ReadFile(file)
			if err == nil {
				text += string(recorded)
			}
			assert.NotContains(t, text, "hunter2")
			assert.NotContains(t, string(recorded), "bob")
		})
	}
}

// rotating are keys that change with each request.
type rotating struct{ n int }

func (r *rotating) Current() cci.Credentials {
	r.n = min(r.n+1, 3)
	return cci.Credentials{
		AccessKey: "A", SecretKey: strings.Repeat("s3cret", r.n), SecurityToken: strings.Repeat("t0ken5", r.n),
	}
}

func TestKeysThatWereRenewedAreHiddenToo(t *testing.T) {
	d, err := New(settings(t, newCloud(t)), options())
	require.NoError(t, err)
	d.keys.Source = &rotating{}
	first := d.keys.Current()
	_ = d.keys.Current()
	var out strings.Builder
	require.NoError(t, d.Redactor().Write(&out, []transcript.Exchange{{
		Service: transcript.ServiceCCI, Method: "GET", Auth: transcript.AuthNone, Text: "x" + first.SecurityToken + "x",
	}}))
	assert.NotContains(t, out.String(), first.SecurityToken)
}

func TestThePartsOfAnImageAreHidden(t *testing.T) {
	for image, test := range map[string]struct {
		said string
		gone []string
	}{
		"registry.acme.test:5000/payroll/busybox:1.37": {
			"registry.acme.test:5000/payroll/busybox@sha256:1, no payroll/busybox, no payroll", []string{"acme", "payroll"},
		},
		"payroll/acme": {"docker.io/payroll/acme:latest, no organization payroll", []string{"acme", "payroll"}},
		"swr.cn-north-4.myhuaweicloud.com/acme/payroll@sha256:0a": {
			"swr.cn-north-4.myhuaweicloud.com/acme/payroll: no acme", []string{"acme", "payroll"},
		},
	} {
		o := options()
		o.Image = image
		d, err := New(settings(t, newCloud(t)), o)
		require.NoError(t, err)
		var out strings.Builder
		require.NoError(t, d.Redactor().Write(&out, []transcript.Exchange{{
			Service: transcript.ServiceCCI, Method: "GET", Auth: transcript.AuthNone, Text: image + ", " + test.said,
		}}))
		for _, gone := range test.gone {
			assert.NotContains(t, out.String(), gone, image)
		}
	}
}
