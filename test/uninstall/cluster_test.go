package uninstall

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/system"
)

const (
	chart     = "../../charts/spillway"
	namespace = "spillway-system"
	// cloudNamespace is the chart's default for the cluster ID.
	cloudNamespace = "spillway-prod"
)

var (
	bin     string
	cluster *machine.Machine
)

func TestMain(m *testing.M) {
	os.Exit(machine.Isolate(func() int {
		if err := startCluster(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// startCluster starts a cluster of one node with the images of the chart.
func startCluster(ctx context.Context) (err error) {
	if bin, err = system.FindBinDir(); err != nil {
		return err
	}
	parts := filepath.Join(filepath.Dir(bin), "machine")
	images, err := machine.Built(parts, chart)
	if err != nil {
		return err
	}
	cluster, err = machine.Start(ctx, machine.Config{
		Dir: filepath.Join(filepath.Dir(bin), "uninstall-test"), BinDir: bin, PartsDir: parts, Nodes: 1, Images: images,
		Progress: os.Stderr,
	})
	return err
}

// run runs helm, kubectl or vnode and returns all its output.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs a program that has to succeed.
func must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run(t, program, args...)
	require.NoError(t, err, "%s %s: %s", program, strings.Join(args, " "), out)
	return out
}

var account = ccisim.Credential{AccessKey: "AK", SecretKey: "SK", ProjectID: "project", DomainID: "domain"}

// startCloud runs a simulated cloud that Pods of the cluster can reach.
func startCloud(t *testing.T) (cloud *ccisim.Sim, url string) {
	t.Helper()
	cloud, _ = ccisimtest.Start(t, ccisimtest.Quick(account))
	listener, err := net.Listen("tcp", net.JoinHostPort(machine.ControlAddress, "0"))
	require.NoError(t, err)
	serving := &http.Server{Handler: cloud.Handler()}
	go func() { _ = serving.Serve(listener) }()
	t.Cleanup(func() { _ = serving.Close() })
	return cloud, "http://" + listener.Addr().String()
}

// traces returns all objects of the cluster by kind and name, except for Events, which expire.
func traces(t *testing.T) map[string]bool {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig())
	require.NoError(t, err)
	config.QPS = -1
	client, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	lists, err := cluster.Client().Discovery().ServerPreferredResources()
	require.NoError(t, err)
	listed := discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}
	kinds, err := discovery.GroupVersionResources(discovery.FilteredBy(listed, lists))
	require.NoError(t, err)
	found := map[string]bool{}
	for kind := range kinds {
		if kind.Resource == "events" || kind.Resource == "endpoints" { // Endpoints are deprecated and mirror EndpointSlices.
			continue
		}
		objects, err := client.Resource(kind).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err, kind)
		for _, object := range objects.Items {
			found[kind.Resource+" "+object.Namespace+"/"+object.Name] = true
		}
	}
	return found
}

// timeout is how long anything may take. Kubernetes deletes the Pods of a deleted node after at most a minute and a
// half.
const timeout = 3 * time.Minute

// eventually calls the check until it succeeds.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "still failing after %s", timeout)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// awaitTraces returns when the cluster has the same objects as before.
func awaitTraces(t *testing.T, before map[string]bool) {
	t.Helper()
	eventually(t, func() error {
		for trace := range traces(t) {
			if !before[trace] {
				return fmt.Errorf("%s is left", trace)
			}
		}
		return nil
	})
	now := traces(t)
	for trace := range before {
		assert.True(t, now[trace], "%s existed before and must still exist", trace)
	}
}
