// Package programtest helps tests of a program that run it within the test process, against a real control plane. It
// starts the control plane, waits for conditions, and reads health, metrics and logs. It knows none of the programs.
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

// Timeout is how long anything may take on a busy machine.
const Timeout = time.Minute

// Main starts a system for all tests of a package in a temporary directory, calls prepare, runs the tests and stops the
// system. It returns the exit code of the process.
func Main(m *testing.M, config system.Config, prepare func(context.Context, *system.System) error) int {
	code, err := run(m, config, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m *testing.M, config system.Config, prepare func(context.Context, *system.System) error) (code int,
	err error) {
	// Set up once, for the libraries. Each program logs to the Log of its test.
	if _, err := logging.SetUp(logging.Config{Level: "error", Format: "text"}, os.Stderr); err != nil {
		return 0, err
	}
	if config.BinDir, err = system.FindBinDir(); err != nil {
		return 0, err
	}
	if config.Dir, err = os.MkdirTemp("", "programtest"); err != nil {
		return 0, fmt.Errorf("creating the directory of the system: %w", err)
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

// The ports of FreeAddress are below the kernel's ephemeral ports, so no outgoing connection takes one, and below those
// of test/system. Test processes that run at the same time begin far apart.
const lowestPort, ports = 10000, 10000

var lastPort = func() *atomic.Int64 {
	var last atomic.Int64
	last.Store(int64(os.Getpid()) * 1031)
	return &last
}()

// FreeAddress returns an address of the loopback interface on which no process listens. It never returns the same
// twice.
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

// Eventually calls the check until it returns no error. After the Timeout it fails the test with the last error.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "still failing after %s", Timeout)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Get sends a GET request to a program's health and metrics port. For a status other than 200 it returns an error that
// contains the body.
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

// Metric returns the value of a counter or a gauge, or the number of observations of a histogram, from a program that
// serves its metrics at the URL. It returns the sum over the metrics that have all the label values.
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

// Log collects the output of a logger that many goroutines use. The zero value is ready to use.
type Log struct {
	lock sync.Mutex
	text bytes.Buffer
}

// Write appends a line.
func (l *Log) Write(line []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(line)
}

// String returns everything that was written.
func (l *Log) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

// Tail returns the last lines, to show them when a test has failed.
func (l *Log) Tail() string {
	lines := strings.Split(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "\n")
}
