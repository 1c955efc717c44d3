package chart

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// Tests of this package install the charts into a real API server with real controllers. Nobody starts Pods: what is shown is that
// all of it is accepted, what becomes of it on upgrades, and that the programs, started here, can work with the configuration and the rights that it
// gives them. namespace is not the one that the programs have as default.
const (
	namespace = "overflow"
	spillway  = "../../charts/spillway"
	buffer    = "../../charts/placeholder"
	// kubeVersion is the cluster's, where a chart is rendered without one.
	kubeVersion = "1.36.3"
)

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
		Shape:     system.Shape{LocalNodes: 1, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1}, // The virtual one is for its ports.
		Without:   []string{system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	}, prepare))
}

// look shows go test on which files the tests depend, though others read them: a change of one makes a kept result void. Before the first test
// nobody would note it.
var look = sync.OnceValue(func() error {
	for _, dir := range []string{"../../charts", bin} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("looking at what is tested: %w", err)
		}
	}
	return nil
})

// prepare makes a namespace that demands restricted Pods.
func prepare(ctx context.Context, s *system.System) error {
	trial = s
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}
	if _, err := s.Client().CoreV1().Namespaces().Create(ctx, made, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the namespace: %w", err)
	}
	return nil
}

// values are those of an account, as a user gives them.
func values(more ...string) []string {
	return append([]string{
		"--set", "clusterID=prod,cloud.region=cn-north-4,cloud.projectID=0a1b2c,cloud.subnetIDs={5d1e-4b7a},cloud.securityGroupIDs={6c2b-4f85}",
		"--set", "credentials.existingSecret=cci-keys",
	}, more...)
}

// simulated are the values for the simulator.
func simulated(more ...string) []string {
	return append([]string{"--set", "simulator.enabled=true"}, more...)
}

// template renders a chart without asking a cluster.
func template(chart string, args ...string) (out string, err error) {
	return run("helm", append([]string{"template", chart, "--name-template", "spillway", "--namespace", "spillway-system", "--kube-version", kubeVersion}, args...)...)
}

// onCluster runs helm or kubectl against the trial system and returns what it prints; its warnings are returned too.
func onCluster(t *testing.T, program string, args ...string) (out string) {
	t.Helper()
	out, err := run(program, append([]string{"--kubeconfig", trial.Kubeconfig()}, args...)...)
	require.NoError(t, err)
	return out
}

// run runs a built program. Its error has what it wrote to stderr.
func run(program string, args ...string) (string, error) {
	if err := look(); err != nil {
		return "", err
	}
	var out, faults bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Stdout, cmd.Stderr = &out, &faults
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, faults.String())
	}
	return out.String() + faults.String(), nil
}
