package commands

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

var (
	trial *system.System
	bin   string
	// version is that of the API server.
	version string
)

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(m, system.Config{Shape: system.DefaultShape()}, prepare))
}

// prepare installs what commands name of the chart beside the programs of the trial system, which are processes: KWOK
// runs the Pods. The rest of the chart would replace what the programs use.
func prepare(ctx context.Context, s *system.System) error {
	trial = s
	var err error
	if bin, err = system.FindBinDir(); err != nil {
		return err
	}
	server, err := s.Client().Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("reading the version of the API server: %w", err)
	}
	version = server.GitVersion
	var kept []string
	for mode, kinds := range map[string][]string{
		"sidecar": {"ConfigMap", "Deployment", "Lease", "Service", "ServiceAccount", "StatefulSet"},
		"service": {"Lease"},
	} {
		rendered, err := run(ctx, "helm", "template", "spillway", root+"/charts/spillway", "--namespace",
			system.ProgramNamespace, "--kube-version", version, "--set", "simulator.enabled=true,scheduler.mode="+mode)
		if err != nil {
			return err
		}
		for document := range strings.SplitSeq(rendered, "\n---\n") {
			var object metav1.PartialObjectMetadata
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				return fmt.Errorf("reading an object of the chart: %w", err)
			}
			if object.Namespace == system.ProgramNamespace && slices.Contains(kinds, object.Kind) &&
				object.Annotations["helm.sh/hook"] == "" {
				kept = append(kept, document)
			}
		}
	}
	file := filepath.Join(filepath.Dir(s.Kubeconfig()), "chart.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(kept, "\n---\n")), 0o600); err != nil {
		return fmt.Errorf("writing the objects of the chart: %w", err)
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-f", file},
		{"-n", system.ProgramNamespace, "rollout", "status", "--timeout=1m", "deployment,statefulset"},
	} {
		if _, err := run(ctx, "kubectl", append([]string{"--kubeconfig", s.Kubeconfig()}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a built program and returns its output. Its error contains what it printed.
func run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(bin, program), args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// reader is a reader of a page: a namespace, and a directory with the files that the page names.
type reader struct {
	namespace, dir string
	env            []string
}

// values are those of a user with a real account. A page may show others.
const values = `clusterID: prod
cloud: {region: cn-north-4, projectID: 0a1b2c, subnetIDs: [5d1e-4b7a], securityGroupIDs: [6c2b-4f85]}
credentials: {existingSecret: cci-keys}
`

// cart is a workload for the pages that name one.
const cart = `apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, labels: {app: cart}}
spec:
  replicas: 4
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}, annotations: {LOCAL_REPLICAS: "1"}}
    spec: {containers: [{name: cart, image: nginx, resources: {requests: {cpu: 100m}}}]}
`

var unsafe = regexp.MustCompile(`[^a-z0-9]+`)

// newReader returns a reader of a page. When the test ends, what the page has created is deleted.
func newReader(t *testing.T, p page) *reader {
	t.Helper()
	r := &reader{
		namespace: strings.Trim(unsafe.ReplaceAllString(strings.ToLower(p.name), "-"), "-"), dir: t.TempDir(),
	}
	admin, err := os.ReadFile(trial.Kubeconfig())
	require.NoError(t, err)
	merged := map[string]any{}
	for _, b := range append([]block{{text: values}}, p.values...) {
		require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(b.text, "…", "")), &merged), "%s:%d", p.name, b.line)
	}
	text, err := yaml.Marshal(merged)
	require.NoError(t, err)
	files := map[string]string{"kubeconfig": string(admin), "values.yaml": string(text), "cart.yaml": cart}
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600))
	}
	charts, err := filepath.Abs(root + "/charts")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(charts, filepath.Join(r.dir, "charts")))
	r.env = append(os.Environ(), "KUBECONFIG="+filepath.Join(r.dir, "kubeconfig"), "NAMESPACE="+r.namespace,
		"VERSION="+version, "HOME="+r.dir, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	before := namespaces(t)
	r.must(t, "kubectl create namespace "+r.namespace+" && kubectl config set-context --current --namespace="+r.namespace)
	programtest.Eventually(t, func() error {
		_, err := trial.Client().CoreV1().ServiceAccounts(r.namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), programtest.Timeout)
		defer cancel()
		for name := range namespaces(t) {
			if !before[name] {
				background := metav1.DeletePropagationBackground
				err := trial.Client().CoreV1().Namespaces().Delete(ctx, name,
					metav1.DeleteOptions{PropagationPolicy: &background})
				require.NoError(t, err)
			}
		}
		_, err := run(ctx, "kubectl", "--kubeconfig", trial.Kubeconfig(), "-n", metav1.NamespaceSystem, "delete",
			"configmap", "eks-config", "--ignore-not-found")
		require.NoError(t, err)
	})
	return r
}

// namespaces returns the names of the namespaces that are not being deleted.
func namespaces(t *testing.T) map[string]bool {
	t.Helper()
	list, err := trial.Client().CoreV1().Namespaces().List(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	names := map[string]bool{}
	for _, namespace := range list.Items {
		if namespace.Status.Phase == corev1.NamespaceActive {
			names[namespace.Name] = true
		}
	}
	return names
}

// prelude is what each command is run with. A grep that finds nothing has worked. The helm of the tests does not know
// for which version of Kubernetes it was built.
const prelude = `set -eo pipefail
grep() { command grep "$@" || [ $? = 1 ]; }
helm() { command helm "$@" --kube-version "$VERSION"; }
`

// shell returns a process that runs a script as the reader.
func (r *reader) shell(ctx context.Context, script string) *exec.Cmd {
	command := exec.CommandContext(ctx, "bash", "-c", prelude+script)
	command.Dir, command.Env = r.dir, r.env
	return command
}

// run runs a script and returns what it prints.
func (r *reader) run(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programtest.Timeout)
	defer cancel()
	var out bytes.Buffer
	command := r.shell(ctx, script)
	command.Stdout, command.Stderr = &out, &out
	command.WaitDelay = time.Second // A child may hold the output.
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, out.String())
	}
	return out.String(), nil
}

// must runs a script that the page does not have.
func (r *reader) must(t *testing.T, script string) {
	t.Helper()
	_, err := r.run(t.Context(), script)
	require.NoError(t, err, script)
}
