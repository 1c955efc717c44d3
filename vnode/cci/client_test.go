package cci_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func pod(name string) *cci.Pod {
	return &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"app": "web"},
			Annotations: map[string]string{"resource.cci.io/pod-size-specs": "0.50_1.0", "text": "ümläut & <tag> \"quote\""},
		},
		Spec: cci.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault,
			Containers: []cci.Container{{Name: "c", Image: "nginx"}},
		},
	}
}

func TestPodIsCreatedReadAndDeleted(t *testing.T) { inBothForms(t, podIsCreatedReadAndDeleted) }

func podIsCreatedReadAndDeleted(t *testing.T, form func(*ccisim.Config)) {
	cloud := cloudtest.NewWithNetwork(t, form, preconditions)
	ctx := t.Context()
	created, err := cloud.Client.CreatePod(ctx, cloudtest.Namespace, pod("web"))
	require.NoError(t, err)
	assert.NotEmpty(t, created.UID)
	assert.Equal(t, "ümläut & <tag> \"quote\"", created.Annotations["text"])

	_, err = cloud.Client.CreatePod(ctx, cloudtest.Namespace, pod("web"))
	assert.True(t, cci.IsTaken(err), "a second Pod of the same name: %v", err)

	require.Eventually(t, func() bool {
		found, err := cloud.Client.GetPod(ctx, cloudtest.Namespace, "web")
		return err == nil && found.Status.Phase == corev1.PodRunning && found.Status.PodIP != ""
	}, cloudtest.Timeout, cloudtest.Tick)

	err = cloud.Client.DeletePod(ctx, cloudtest.Namespace, "web", cci.DeleteOptions{UID: "another"})
	assert.True(t, cci.IsConflict(err), "another UID: %v", err)
	now := cci.DeleteOptions{UID: created.UID, GraceSeconds: new(int64(0))}
	err = cloud.Client.DeletePod(ctx, cloudtest.Namespace, "web", now)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := cloud.Client.GetPod(ctx, cloudtest.Namespace, "web")
		return cci.IsNotFound(err)
	}, cloudtest.Timeout, cloudtest.Tick)
	assert.True(t, cci.IsNotFound(cloud.Client.DeletePod(ctx, cloudtest.Namespace, "web", cci.DeleteOptions{})))
	assert.Empty(t, cloud.DroppedFields(), "the service knows every field that is sent")
}

func TestNamespacesAndNetworks(t *testing.T) { inBothForms(t, namespacesAndNetworks) }

func namespacesAndNetworks(t *testing.T, form func(*ccisim.Config)) {
	cloud := cloudtest.New(t, form)
	ctx := t.Context()
	_, err := cloud.Client.GetNamespace(ctx, "nowhere")
	assert.True(t, cci.IsNotFound(err), "%v", err)
	_, err = cloud.Client.ListNetworks(ctx, "nowhere")
	assert.True(t, cci.IsNotFound(err), "%v", err)
	_, err = cloud.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "here"}})
	require.NoError(t, err)
	_, err = cloud.Client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "here"}})
	assert.True(t, cci.IsTaken(err), "%v", err)
	wrong := cloudtest.Network("net")
	wrong.Spec.NetworkType = "underlay-neutron"
	_, err = cloud.Client.CreateNetwork(ctx, "here", wrong)
	assert.True(t, cci.IsPermanent(err), "%v", err)
	_, err = cloud.Client.CreateNetwork(ctx, "here", cloudtest.Network("net"))
	require.NoError(t, err)
	networks, err := cloud.Client.ListNetworks(ctx, "here")
	require.NoError(t, err)
	assert.Len(t, networks, 1)
}

func TestErrorsAreClassified(t *testing.T) {
	cases := map[string]struct {
		fault ccisim.Fault
		want  cci.Kind
		after time.Duration
	}{
		"arrears require an operator":           {ccisim.Fault{Kind: ccisim.Arrears}, cci.Denied, 0},
		"a missing agency requires an operator": {ccisim.Fault{Kind: ccisim.NoAgency}, cci.Denied, 0},
		"throttling has a delay": {
			ccisim.Fault{Kind: ccisim.Throttle, RetryAfterSeconds: 1}, cci.Throttled, time.Second,
		},
		"a server error is transient": {ccisim.Fault{Kind: ccisim.ServerError, Status: 503}, cci.Transient, 0},
		"no capacity in the region is transient": {
			ccisim.Fault{Kind: ccisim.ServerError, Status: 400, ErrorCode: "CCI.02.400116"}, cci.Transient, 0,
		},
		"a refusal by admission is permanent": {ccisim.Fault{Kind: ccisim.ServerError, Status: 403}, cci.Permanent, 0},
		"a missing permission requires an operator": {
			ccisim.Fault{Kind: ccisim.ServerError, Status: 403, ErrorCode: "CCI.01.403107"}, cci.Denied, 0,
		},
		"an invalid object is permanent":  {ccisim.Fault{Kind: ccisim.ServerError, Status: 422}, cci.Permanent, 0},
		"a lost response is transient":    {ccisim.Fault{Kind: ccisim.LoseAnswer}, cci.Transient, 0},
		"a partial response is transient": {ccisim.Fault{Kind: ccisim.HalfBody}, cci.Transient, 0},
		"a response after the timeout is transient": {
			ccisim.Fault{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: time.Second}}, cci.Transient, 0,
		},
		"a continue token that is too old is expired": {ccisim.Fault{Kind: ccisim.ServerError, Status: 410}, cci.Expired, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.NewWithNetwork(t)
			config := cloud.Config()
			config.RequestTimeout = 200 * time.Millisecond
			client := cloudtest.NewClient(t, config)
			cloud.Fault(t, tc.fault)
			_, err := client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
			require.Error(t, err)
			assert.Equal(t, tc.want, cci.KindOf(err), "%v", err)
			assert.Equal(t, tc.after, cci.RetryAfter(err))
			assert.Contains(t, err.Error(), "creating cloud pod web")
		})
	}
}

func TestWrongCredentialsAreDenied(t *testing.T) {
	cloud := cloudtest.New(t)
	config := cloud.Config()
	config.Credentials = cci.Credentials{AccessKey: cloudtest.Account.AccessKey, SecretKey: "not-the-key"}
	_, err := cloudtest.NewClient(t, config).GetNamespace(t.Context(), "any")
	assert.True(t, cci.IsDenied(err), "%v", err)
	assert.NotContains(t, err.Error(), "not-the-key")
}

func TestTemporaryCredentialsSendTheirToken(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) {
		c.Credentials = append(c.Credentials, ccisim.Credential{
			AccessKey: "TMP", SecretKey: "secret", ProjectID: "project", SecurityToken: "token",
		})
	})
	config := cloud.Config()
	config.Credentials = cci.Credentials{AccessKey: "TMP", SecretKey: "secret", SecurityToken: "token"}
	_, err := cloudtest.NewClient(t, config).GetNamespace(t.Context(), "nowhere")
	assert.True(t, cci.IsNotFound(err), "%v", err)
}

func TestReadsAreRetriedAndCreatesAreNot(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 503, Times: 2})
	_, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err, "the third attempt succeeds")

	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Times: 1})
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.True(t, cci.IsTransient(err), "%v", err)
	assert.Len(t, cloud.PodsEver(), 1, "the request was executed once")
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	assert.True(t, cci.IsTaken(err), "%v", err)
}

func TestThrottlingDelaysEveryRequest(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.Throttle, Verb: "create", Times: 1, RetryAfterSeconds: 1})
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.True(t, cci.IsThrottled(err), "%v", err)
	start := time.Now()
	_, err = cloud.Client.GetPod(t.Context(), cloudtest.Namespace, "web")
	require.True(t, cci.IsNotFound(err), "%v", err)
	assert.GreaterOrEqual(t, time.Since(start), 700*time.Millisecond, "the request waits as long as Retry-After says")
}

func TestRequestRateIsLimited(t *testing.T) {
	cloud := cloudtest.New(t)
	config := cloud.Config()
	config.QPS, config.Burst = 20, 1
	client := cloudtest.NewClient(t, config)
	start := time.Now()
	for range 5 {
		_, err := client.GetNamespace(t.Context(), "nowhere")
		require.True(t, cci.IsNotFound(err), "%v", err)
	}
	assert.GreaterOrEqual(t, time.Since(start), 190*time.Millisecond, "four of five requests wait 50ms each")
}

func TestCallerCanCancelAtAnyTime(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: time.Minute}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := cloud.Client.GetPod(ctx, cloudtest.Namespace, "web")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, cci.KindOf(err), "the cloud has not failed")
	assert.Less(t, time.Since(start), 3*time.Second)
}

func TestAllPagesAreRead(t *testing.T) {
	for name, policies := range map[string]ccisim.Policies{
		"in pages": {}, "from a service that ignores the limit": {IgnoreLimit: true},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies = policies })
			for i := range 7 {
				_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod(fmt.Sprintf("web-%d", i)))
				require.NoError(t, err)
			}
			seen := map[string]bool{}
			options := cci.ListOptions{LabelSelector: "app=web", Limit: 3}
			for {
				page, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, options)
				require.NoError(t, err)
				for _, p := range page.Items {
					seen[p.Name] = true
				}
				require.NotEmpty(t, page.ResourceVersion)
				if options.Continue = page.Continue; options.Continue == "" {
					break
				}
			}
			assert.Len(t, seen, 7)
		})
	}
}

func TestWatchDeliversEveryChange(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.BookmarkInterval = 20 * time.Millisecond })
	list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	stream, err := cloud.Client.WatchPods(t.Context(), cloudtest.Namespace, cci.WatchOptions{
		LabelSelector: "app=web", ResourceVersion: list.ResourceVersion, Timeout: time.Minute,
	})
	require.NoError(t, err)
	defer stream.Close()
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.NoError(t, err)
	kinds := map[watch.EventType]bool{}
	running := false
	for !running || !kinds[watch.Bookmark] {
		event, err := stream.Next()
		require.NoError(t, err)
		kinds[event.Type] = true
		running = running || event.Pod.Status.Phase == corev1.PodRunning
	}
	assert.True(t, kinds[watch.Added] && kinds[watch.Modified])

	require.NoError(t, cloud.Client.DeletePod(t.Context(), cloudtest.Namespace, "web", cci.DeleteOptions{}))
	for !kinds[watch.Deleted] {
		event, err := stream.Next()
		require.NoError(t, err)
		kinds[event.Type] = true
	}
}

func TestEndOfAWatch(t *testing.T) {
	open := func(t *testing.T, cloud *cloudtest.Cloud, version string) (cci.PodWatch, error) {
		options := cci.WatchOptions{ResourceVersion: version, Timeout: time.Minute}
		return cloud.Client.WatchPods(t.Context(), cloudtest.Namespace, options)
	}
	version := func(t *testing.T, cloud *cloudtest.Cloud) string {
		list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
		require.NoError(t, err)
		return list.ResourceVersion
	}
	t.Run("the service ends it", func(t *testing.T) {
		cloud := cloudtest.NewWithNetwork(t)
		stream, err := open(t, cloud, version(t, cloud))
		require.NoError(t, err)
		cloud.CutWatches(false)
		_, err = stream.Next()
		assert.Equal(t, io.EOF, err)
	})
	t.Run("the connection breaks", func(t *testing.T) {
		cloud := cloudtest.NewWithNetwork(t)
		stream, err := open(t, cloud, version(t, cloud))
		require.NoError(t, err)
		cloud.CutWatches(true)
		_, err = stream.Next()
		assert.True(t, cci.IsTransient(err), "%v", err)
	})
	t.Run("the caller closes it", func(t *testing.T) {
		cloud := cloudtest.NewWithNetwork(t)
		stream, err := open(t, cloud, version(t, cloud))
		require.NoError(t, err)
		stream.Close()
		stream.Close()
		_, err = stream.Next()
		assert.Error(t, err)
	})
	for name, asStatus := range map[string]bool{
		"the version is too old, in the stream": false,
		"the version is too old, as a response": true,
	} {
		t.Run(name, func(t *testing.T) {
			cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies.GoneAsStatus = asStatus })
			old := version(t, cloud)
			_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
			require.NoError(t, err)
			cloud.Compact()
			stream, err := open(t, cloud, old)
			if err == nil {
				_, err = stream.Next()
			}
			assert.True(t, cci.IsExpired(err), "%v", err)
		})
	}
}

func TestLogsAreStreamed(t *testing.T) { inBothForms(t, logsAreStreamed) }

func logsAreStreamed(t *testing.T, form func(*ccisim.Config)) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI, form)
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return cloud.AppendLog(cloudtest.Namespace, "web", "c", "one\ntwo\nthree\n") == nil
	}, cloudtest.Timeout, cloudtest.Tick)

	read := func(options cci.LogOptions) string {
		options.Container = "c"
		stream, err := cloud.Client.PodLog(t.Context(), cloudtest.Namespace, "web", options)
		require.NoError(t, err)
		defer stream.Close()
		text, err := io.ReadAll(stream)
		require.NoError(t, err)
		return string(text)
	}
	assert.Contains(t, read(cci.LogOptions{}), "one\ntwo\nthree\n")
	assert.Equal(t, "three\n", read(cci.LogOptions{TailLines: new(int64(1))}))
	assert.Empty(t, read(cci.LogOptions{TailLines: new(int64(0))}))
	assert.Equal(t, "th", read(cci.LogOptions{TailLines: new(int64(1)), LimitBytes: new(int64(2))}))

	follow := cci.LogOptions{Container: "c", Follow: true, TailLines: new(int64(0))}
	stream, err := cloud.Client.PodLog(t.Context(), cloudtest.Namespace, "web", follow)
	require.NoError(t, err)
	defer stream.Close()
	require.NoError(t, cloud.AppendLog(cloudtest.Namespace, "web", "c", "four\n"))
	line, err := bufio.NewReader(stream).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "four\n", line)

	_, err = cloud.Client.PodLog(t.Context(), cloudtest.Namespace, "nowhere", cci.LogOptions{Container: "c"})
	assert.True(t, cci.IsNotFound(err), "%v", err)
}

func TestEveryAttemptIsCounted(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.BareErrors = false })
	config := cloud.Config()
	registry := prometheus.NewRegistry()
	config.Registerer = registry
	var outcomes []cci.Kind
	config.Outcome = func(operation string, err error) {
		assert.Equal(t, "GetNamespace", operation)
		outcomes = append(outcomes, cci.KindOf(err))
	}
	client := cloudtest.NewClient(t, config)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Times: 1})
	_, err := client.GetNamespace(t.Context(), "nowhere")
	require.True(t, cci.IsNotFound(err), "%v", err)
	assert.Equal(t, []cci.Kind{cci.Transient, cci.NotFound}, outcomes)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(
		`# HELP spillway_vnode_cloud_requests_total Attempts of requests to the cloud, by operation and HTTP status code `+
			`(none if there was no response).
# TYPE spillway_vnode_cloud_requests_total counter
spillway_vnode_cloud_requests_total{code="404",operation="GetNamespace"} 1
spillway_vnode_cloud_requests_total{code="none",operation="GetNamespace"} 1
`), "spillway_vnode_cloud_requests_total"))
	count, err := testutil.GatherAndCount(registry, "spillway_vnode_cloud_request_duration_seconds")
	require.NoError(t, err)
	assert.Equal(t, 1, count)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a signed request went to another host")
	}))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	t.Cleanup(server.Close)
	config := cci.Config{
		Endpoint: server.URL, ProjectID: "p", Credentials: cci.Credentials{AccessKey: "a", SecretKey: "s"},
		QPS: 10, Burst: 10, RequestTimeout: time.Second, Tries: 1, RetryDelay: time.Millisecond,
		Exec: cci.ExecConfig{IAMEndpoint: server.URL},
	}
	withToken := config
	withToken.Credentials = cci.Credentials{AccessKey: "a", SecretKey: "s", AuthToken: "t"}
	_, err := cloudtest.NewClient(t, config).GetNamespace(t.Context(), "any")
	assert.True(t, cci.IsTransient(err), "a signed request: %v", err)
	for name, config := range map[string]cci.Config{"the request for a token": config, "the token": withToken} {
		err := cloudtest.NewClient(t, config).PodExec(t.Context(), "any", "pod",
			cci.ExecOptions{Container: "c", Command: []string{"true"}}, cci.ExecStreams{})
		assert.True(t, cci.IsTransient(err), "%s: %v", name, err)
	}
}

func TestEndpointsNeedTLS(t *testing.T) {
	const tls = "must begin with https://"
	for endpoint, want := range map[string]string{
		"https://cci.cn-north-4.myhuaweicloud.com": "",
		"https://10.0.0.7:8443/":                   "",
		"http://127.0.0.1:10243":                   "",
		"http://[::1]:10243":                       "",
		"http://localhost:10243":                   "",
		"http://cci.cn-north-4.myhuaweicloud.com":  tls,
		"http://10.0.0.7":                          tls,
		"http://127.0.0.1.example.com":             tls,
		"http://localhost.example.com":             tls,
		"http://user@127.0.0.1":                    "must be a scheme and a host",
		"https://cci.example.com?to=elsewhere":     "must be a scheme and a host",
		"https://cci.example.com/path":             "must be a scheme and a host",
		"ftp://cci.example.com":                    "must be a scheme and a host",
		"https://:443":                             "must be a scheme and a host",
	} {
		err := cci.ValidateEndpoint(field.NewPath("cci", "endpoint"), endpoint, false).ToAggregate()
		if want == "" {
			assert.NoError(t, err, endpoint)
			continue
		}
		assert.ErrorContains(t, err, want, endpoint)
		if want == tls {
			assert.NoError(t, cci.ValidateEndpoint(nil, endpoint, true).ToAggregate(), endpoint)
		}
	}
}

func TestAllErrorsOfTheConfigurationAreReported(t *testing.T) {
	_, err := cci.New(cci.Config{Endpoint: "cci.example.com/path", Credentials: cci.Credentials{}})
	require.Error(t, err)
	for _, text := range []string{
		"cci.endpoint", "cci.example.com/path", "cci.projectID", "cci.credentials.accessKey", "cci.credentials.secretKey",
		"cci.qps", "cci.burst", "cci.requestTimeout", "cci.tries", "cci.retryDelay", "above zero", "cci.iamEndpoint",
	} {
		assert.ErrorContains(t, err, text)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	credentials := cci.Credentials{
		AccessKey: "AKID", SecretKey: "very-secret", SecurityToken: "also-secret", AuthToken: "secret, too",
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "credentials", credentials)
	for _, text := range []string{
		fmt.Sprint(credentials), fmt.Sprintf("%+v", credentials), fmt.Sprintf("%#v", credentials), log.String(),
	} {
		assert.Contains(t, text, "AKID")
		assert.NotContains(t, text, "secret")
	}
}

func TestKindOfAWrappedError(t *testing.T) {
	err := fmt.Errorf("more: %w", &cci.Error{Kind: cci.Throttled, Status: 429, After: time.Second})
	assert.True(t, cci.IsThrottled(err))
	assert.Equal(t, time.Second, cci.RetryAfter(err))
	assert.Empty(t, cci.KindOf(errors.New("other")))
	assert.Empty(t, cci.KindOf(nil))
}

// While the service does not answer, only probes are sent, however many callers there are. When it answers again, all
// requests are sent.
func TestBreakerOpensWhileTheServiceIsDown(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	config := cloud.Config()
	config.RetryDelay = 50 * time.Millisecond
	client := cloudtest.NewClient(t, config)
	lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 503})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for ctx.Err() == nil {
				_, err := client.GetPod(ctx, cloudtest.Namespace, "web")
				assert.Error(t, err)
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	group.Wait()
	// The first ten, those under way at that time, and probes after 0.2s, 0.4s and 0.8s.
	assert.Less(t, cloud.CountRequests("get", "pods", 503), 60, "thousands of calls were made")
	lift()
	require.Eventually(t, func() bool {
		_, err := client.GetPod(t.Context(), cloudtest.Namespace, "web")
		return cci.IsNotFound(err)
	}, cloudtest.Timeout, cloudtest.Tick)
}
