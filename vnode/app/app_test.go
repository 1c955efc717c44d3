package app

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// authority returns a certificate authority.
var authority = sync.OnceValues(func() ([]byte, error) {
	certificate, _, err := cert.GenerateSelfSignedCertKey("authority", nil, nil)
	return certificate, err
})

// writeKeys writes the keys of the simulated account to a file.
func writeKeys(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n",
		cloudtest.Account.AccessKey, cloudtest.Account.SecretKey), 0o600))
	return file
}

// settings returns a configuration with files that exist and addresses that no one listens on.
func settings(t *testing.T) *config.Config {
	t.Helper()
	write := func(name, content string) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	ca, err := authority()
	require.NoError(t, err)
	c := config.Default()
	c.ClusterID, c.Node.Name, c.Node.IP = "prod", "virtual", "10.0.0.9"
	c.ClientCAFile = write("ca.crt", string(ca))
	c.Kube.Kubeconfig = write("kubeconfig", `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
users: [{name: u, user: {token: t}}]
`)
	c.CCI.Endpoint, c.CCI.IAMEndpoint = "https://127.0.0.1:1", "https://127.0.0.1:1"
	c.CCI.Region, c.CCI.ProjectID = "r", "p"
	c.CCI.CredentialsFile = write("credentials.yaml", "accessKey: a\nsecretKey: s\n")
	c.CCI.Namespace, c.CCI.SubnetIDs, c.CCI.SecurityGroupIDs = "bursting", []string{"subnet"}, []string{"group"}
	require.NoError(t, c.Validate())
	return c
}

func newApp(t *testing.T, c *config.Config) *App {
	t.Helper()
	a, err := New(c, always{}, nil, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

// always is a term that does not end.
type always struct{}

func (always) Err() error                                    { return nil }
func (always) Wrap(next http.RoundTripper) http.RoundTripper { return next }

func TestNewNamesTheFileThatItCannotUse(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"the authority of clients": func(c *config.Config) { c.ClientCAFile = "nowhere" },
		"the cloud's credentials":  func(c *config.Config) { c.CCI.CredentialsFile = "nowhere" },
		"the kubeconfig":           func(c *config.Config) { c.Kube.Kubeconfig = "nowhere" },
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			change(c)
			_, err := New(c, always{}, nil, nil, slog.New(slog.DiscardHandler))
			assert.ErrorContains(t, err, "nowhere")
		})
	}
}

// A virtual node that fails, because the API server does not answer for example, is built again and again.
func TestNothingRemainsOfATermThatFails(t *testing.T) {
	const terms = 5
	c := settings(t)
	certificate, key, err := cert.GenerateSelfSignedCertKey("virtual", nil, nil)
	require.NoError(t, err)
	c.TLSCertFile, c.TLSPrivateKeyFile = filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(c.TLSCertFile, certificate, 0o600))
	require.NoError(t, os.WriteFile(c.TLSPrivateKeyFile, key, 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c.Listen = listener.Addr().String()
	require.NoError(t, listener.Close())
	run := func() {
		a, err := New(c, always{}, nil, nil, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.Error(t, a.Run(t.Context()))
	}
	run()
	before := runtime.NumGoroutine()
	for range terms {
		run()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+terms }, time.Minute, 10*time.Millisecond)
}

// So is one whose configuration names files that cannot be used.
func TestNothingRemainsOfAVirtualNodeThatCannotBeBuilt(t *testing.T) {
	const tries = 5
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, change := range map[string]func(*config.Config){
		"the directory of the certificate is a file": func(c *config.Config) { c.CertificateDir = file },
		"the authority of clients is empty":          func(c *config.Config) { c.ClientCAFile = file },
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			change(c)
			build := func() {
				_, err := New(c, always{}, nil, nil, slog.New(slog.DiscardHandler))
				require.ErrorContains(t, err, file)
			}
			build()
			before := runtime.NumGoroutine()
			for range tries {
				build()
			}
			require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+tries }, time.Minute, 10*time.Millisecond)
		})
	}
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	a := newApp(t, settings(t))
	a.noteCloudNamespace(errors.New("the network has failed"))
	require.EqualError(t, a.Ready(), "the node is not registered\nthe network has failed")
	a.noteCloudNamespace(nil)
	assert.NotContains(t, a.Ready().Error(), "the network has failed")
}

// descriptor matches the description of a metric by the Prometheus library.
var descriptor = regexp.MustCompile(`fqName: "(spillway_\w+)", help: "([^"]+)", .*variableLabels: \{([\w,]*)\}`)

// The golden file holds the name and the labels of every metric that the rooms register.
func TestMetrics(t *testing.T) {
	const golden = "testdata/metrics.txt"
	c := settings(t)
	c.CCI.ImageSnapshots.AutoMatch, c.CCI.ImageSnapshots.Keep = true, 1
	a := newApp(t, c)
	descriptions := make(chan *prometheus.Desc, 1000)
	a.registry.Describe(descriptions)
	close(descriptions)
	var metrics []string
	for description := range descriptions {
		if match := descriptor.FindStringSubmatch(description.String()); match != nil {
			metrics = append(metrics, strings.TrimSpace(match[1]+" "+match[3])+"\n")
			assert.Regexp(t, `^[A-Z].*\.$`, match[2], "the help is a sentence")
		}
	}
	slices.Sort(metrics)
	got := strings.Join(slices.Compact(metrics), "")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)

	families, err := a.Gatherer().Gather()
	require.NoError(t, err)
	assert.NotEmpty(t, families)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			assert.Equal(t, "virtual", labels["node"], "several nodes can run in one process: %s", family.GetName())
		}
	}
}

// What the term does not allow is not sent, neither to the cluster nor to the cloud.
func TestAllClientsPassTheGuard(t *testing.T) {
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent.Add(1) }))
	t.Cleanup(server.Close)
	c := settings(t)
	content, err := os.ReadFile(c.Kube.Kubeconfig)
	require.NoError(t, err)
	content = bytes.ReplaceAll(content, []byte("https://127.0.0.1:1"), []byte(server.URL))
	require.NoError(t, os.WriteFile(c.Kube.Kubeconfig, content, 0o600))
	c.CCI.Endpoint, c.CCI.IAMEndpoint = server.URL, server.URL
	term := leaderelection.NewTerm(time.Hour)
	a, err := New(c, term, nil, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(a.Close)
	requests := map[string]func() error{
		"a pod in the cloud": func() error { return a.cloud.DeletePod(t.Context(), "ns", "pod", cci.DeleteOptions{}) },
		"a command in the cloud": func() error {
			return a.cloud.PodExec(t.Context(), "ns", "pod", cci.ExecOptions{}, cci.ExecStreams{})
		},
	}
	clients := map[string]*kubernetes.Clientset{
		"pods": a.clients.pods, "node": a.clients.node, "events": a.clients.events, "tokens": a.clients.tokens,
		"access": a.clients.access, "account": a.clients.account,
	}
	assert.Len(t, clients, reflect.TypeOf(a.clients).NumField(), "a client is missing here")
	for name, client := range clients {
		requests[name] = func() error {
			return client.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{})
		}
	}
	for name, send := range requests {
		assert.ErrorIs(t, send(), leaderelection.ErrTermOver, name)
	}
	assert.Zero(t, sent.Load())
	term.Renew(time.Now(), 0)
	for name, send := range requests {
		assert.NotErrorIs(t, send(), leaderelection.ErrTermOver, name)
	}
	assert.GreaterOrEqual(t, sent.Load(), int64(len(requests)))
}

func TestTheKubeletPortHasOneCertificate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *config.Config)
		check  func(*testing.T, *App)
	}{
		"self-signed": {func(*testing.T, *config.Config) {}, func(t *testing.T, a *App) {
			got, err := a.kubeletPort.GetCertificate(&tls.ClientHelloInfo{})
			require.NoError(t, err)
			assert.NotEmpty(t, got.Certificate)
			assert.Nil(t, a.certificate)
		}},
		"signed by the cluster": {func(t *testing.T, c *config.Config) { c.CertificateDir = t.TempDir() },
			func(t *testing.T, a *App) {
				assert.NotNil(t, a.certificate)
				assert.NotNil(t, a.kubeletPort.GetCertificate)
			}},
		"from files": {func(_ *testing.T, c *config.Config) { c.TLSCertFile, c.TLSPrivateKeyFile = "crt", "key" },
			func(t *testing.T, a *App) {
				assert.Equal(t, "crt", a.kubeletPort.CertFile)
				assert.Equal(t, "key", a.kubeletPort.KeyFile)
				assert.Nil(t, a.kubeletPort.GetCertificate)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			test.change(t, c)
			test.check(t, newApp(t, c))
		})
	}
}

func TestUsageRequestsFollowNoRedirects(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	t.Cleanup(server.Close)
	response, err := usageClient().Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusFound, response.StatusCode)
}

// A flood of tokens at the kubelet port uses up a rate limit that nothing else has, and the writes of Pods use up none
// of it.
func TestTokensAreReviewedWithARateLimitOfTheirOwn(t *testing.T) {
	var reviewed atomic.Int64
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews" {
			reviewed.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview"}`)
	}))
	t.Cleanup(cluster.Close)
	c := settings(t)
	content, err := os.ReadFile(c.Kube.Kubeconfig)
	require.NoError(t, err)
	content = bytes.ReplaceAll(content, []byte("https://127.0.0.1:1"), []byte(cluster.URL))
	require.NoError(t, os.WriteFile(c.Kube.Kubeconfig, content, 0o600))
	c.Kube.QPS, c.Kube.Burst = 0.001, 1 // Once drained, these clients wait for 17 minutes.
	a := newApp(t, c)
	for _, client := range []*kubernetes.Clientset{
		a.clients.pods, a.clients.node, a.clients.account, a.clients.events,
	} {
		assert.True(t, client.CoreV1().RESTClient().GetRateLimiter().TryAccept())
		assert.False(t, client.CoreV1().RESTClient().GetRateLimiter().TryAccept())
	}
	for _, client := range []*kubernetes.Clientset{a.clients.tokens, a.clients.access} {
		assert.InDelta(t, reviewsPerSecond, client.CoreV1().RESTClient().GetRateLimiter().QPS(), 0)
	}
	response := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
	request.Header.Set("Authorization", "Bearer unknown")
	a.kubeletPort.Handler.ServeHTTP(response, request)
	assert.Equal(t, http.StatusUnauthorized, response.Code)
	assert.Equal(t, int64(1), reviewed.Load())
}
