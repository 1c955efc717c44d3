// Package programtest is for the tests of a program that run it in their own process beside a real control plane: what they start, wait for
// and read. It knows none of the programs.
package programtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/test/system"
)

// Patience is how long anything may take on a machine that is busy with other things.
const Patience = time.Minute

// Main starts a system for all tests of a package, in a directory of its own, has prepare make what they need, runs them, and ends the system.
// It returns what the process should end with.
func Main(m *testing.M, config system.Config, prepare func(context.Context, *system.System) error) int {
	code, err := run(m, config, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m *testing.M, config system.Config, prepare func(context.Context, *system.System) error) (code int, err error) {
	// Once, for the libraries; each program logs to a Log of its test.
	if _, err := logging.SetUp(logging.Config{Level: "error", Format: "text"}, os.Stderr); err != nil {
		return 0, err
	}
	if config.BinDir, err = system.FindBinDir(); err != nil {
		return 0, err
	}
	if config.Dir, err = os.MkdirTemp("", "programtest"); err != nil {
		return 0, fmt.Errorf("making the directory of the system: %w", err)
	}
	ctx := context.Background()
	defer func() { err = errors.Join(err, system.Stop(ctx, config.Dir), os.RemoveAll(config.Dir)) }()
	config.DieWithParent = true
	trial, err := system.Start(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := prepare(ctx, trial); err != nil {
		return 0, fmt.Errorf("preparing the system: %w", err)
	}
	return m.Run(), nil
}

// The ports of FreeAddress are below those that the kernel takes for outgoing connections, one of which may come between, and below those of
// test/system. Test processes that run at once begin far from one another.
const lowestPort, ports = 10000, 10000

var lastPort = func() *atomic.Int64 {
	var last atomic.Int64
	last.Store(int64(os.Getpid()) * 1031)
	return &last
}()

// FreeAddress is an address of the loopback interface where nobody listens yet. It is given once.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range ports {
		address := fmt.Sprintf("127.0.0.1:%d", lowestPort+lastPort.Add(1)%ports)
		if listener, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, listener.Close())
			return address
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

// Eventually returns when the check finds nothing wrong, and fails the test with what is wrong when Patience ends.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "waited for %s in vain", Patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Get asks a program's port for health and metrics. A status other than 200 is an error with the answer.
func Get(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		return "", fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, body.String())
	}
	return body.String(), nil
}

// Metric reads a counter, a gauge or how often a histogram was told something, from a program that serves its metrics at the URL: the sum of
// those that have all the label values.
func Metric(t testing.TB, url, name string, labels ...string) float64 {
	t.Helper()
	text, err := Get(url + "/metrics")
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	var sum float64
	for _, m := range families[name].GetMetric() {
		found := 0
		for _, label := range m.GetLabel() {
			for _, want := range labels {
				if label.GetValue() == want {
					found++
				}
			}
		}
		if found == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// Log is what a logger of many goroutines writes to. The zero value is ready.
type Log struct {
	lock sync.Mutex
	text bytes.Buffer
}

// Write adds a line.
func (l *Log) Write(line []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(line)
}

// String is all that was written.
func (l *Log) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

// Tail is the last lines, for a test that has failed.
func (l *Log) Tail() string {
	lines := strings.Split(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "\n")
}
