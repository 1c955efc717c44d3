package chart

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

var update = flag.Bool("update", false, "write the golden files")

// The tests of this package install the charts into a real API server with real controllers. No kubelet starts the
// Pods. The tests show that the API server accepts every object, what upgrades change, and that the programs, started
// by the tests, work with the configuration and the permissions from the chart. The namespace differs from the
// programs' default.
const (
	namespace = "overflow"
	spillway  = "../../charts/spillway"
	buffer    = "../../charts/placeholder"
)

// kubernetesVersion returns the version for which a chart is rendered without a cluster: the one of the test cluster.
var kubernetesVersion = sync.OnceValues(func() (string, error) {
	modules, err := os.ReadFile("../cluster/go.mod")
	if err != nil {
		return "", fmt.Errorf("reading the version of the test cluster: %w", err)
	}
	match := regexp.MustCompile(`k8s\.io/kubernetes v(\S+)`).FindSubmatch(modules)
	if match == nil {
		return "", errors.New("test/cluster/go.mod does not require k8s.io/kubernetes")
	}
	return string(match[1]), nil
})

var (
	trial *system.System
	bin   string
)

func TestMain(m *testing.M) {
	var err error
	if bin, err = system.FindBinDir(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(programtest.Main(m, system.Config{
		BareNodes: true,
		Installed: true,
		// The virtual node only reserves its ports.
		Shape:   system.Shape{LocalNodes: 1, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1},
		Without: []string{system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	}, prepare))
}

// statInputs reads the state of all files that the tests depend on but other programs read, so that go test does not
// reuse a cached result after one of them has changed. It runs within a test: go test does not record files that are
// read before the first one.
var statInputs = sync.OnceValue(func() error {
	for _, dir := range []string{"../../charts", bin} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("reading the state of the files under test: %w", err)
		}
	}
	return nil
})

// prepare creates a namespace that accepts only restricted Pods.
func prepare(ctx context.Context, s *system.System) error {
	trial = s
	restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}
	if _, err := s.Client().CoreV1().Namespaces().Create(ctx, restricted, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the namespace: %w", err)
	}
	return nil
}

// values returns the values that a user sets for a real account, followed by more.
func values(more ...string) []string {
	return append([]string{
		"--set", "clusterID=prod,cloud.region=cn-north-4,cloud.projectID=0a1b2c",
		"--set", "cloud.subnetIDs={5d1e-4b7a},cloud.securityGroupIDs={6c2b-4f85}",
		"--set", "credentials.existingSecret=cci-keys",
	}, more...)
}

// simulated returns the values for the simulator, followed by more.
func simulated(more ...string) []string {
	return append([]string{"--set", "simulator.enabled=true"}, more...)
}

// template renders a chart without a cluster.
func template(chart string, args ...string) (out string, err error) {
	version, err := kubernetesVersion()
	if err != nil {
		return "", err
	}
	args = append([]string{
		"template", chart, "--name-template", "spillway", "--namespace", "spillway-system", "--kube-version", version,
	}, args...)
	return run("helm", args...)
}

// onCluster runs helm or kubectl against the trial system and returns its output, including its warnings.
func onCluster(t *testing.T, program string, args ...string) (out string) {
	t.Helper()
	out, err := run(program, append([]string{"--kubeconfig", trial.Kubeconfig()}, args...)...)
	require.NoError(t, err)
	return out
}

// run runs a built program. Its error contains the program's stderr.
func run(program string, args ...string) (string, error) {
	if err := statInputs(); err != nil {
		return "", err
	}
	var out, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return out.String() + stderr.String(), nil
}

// virtualNodes is an argument of --set-json with a number of virtual nodes that have nothing special.
func virtualNodes(count int) string {
	return "vnode.nodes=[" + strings.TrimSuffix(strings.Repeat("{},", count), ",") + "]"
}
