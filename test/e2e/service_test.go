package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// timeout is how long the election of a leader may take on a busy machine.
const timeout = 60 * time.Second

// TestTheExtenderAsAService tests the topology with two extenders over mutual TLS: which clients may call it, and that
// the quota holds in every failure of the leader.
func TestTheExtenderAsAService(t *testing.T) {
	t.Parallel()
	shape := system.DefaultShape()
	shape.Topology = system.TopologyService
	world, s := newWorld(t, shape)
	t.Run("only the scheduler may call it", func(t *testing.T) { playClients(t, s) })
	t.Run("the story of the quota", func(t *testing.T) {
		require.NoError(t, world.Play(t.Context(), stories.All()[0]))
	})
	for name, midway := range map[string]func(context.Context, string) error{
		"undisturbed": nil,
		"the leader is killed": func(ctx context.Context, leader string) error {
			return killAndRestart(ctx, s, leader)
		},
		"the leader is replaced":  func(ctx context.Context, leader string) error { return s.Restart(ctx, leader) },
		"the leader is suspended": func(ctx context.Context, leader string) error { return suspend(ctx, s, leader) },
		"the scheduler is killed": func(ctx context.Context,
			_ string) error {
			return killAndRestart(ctx, s, system.Scheduler)
		},
		"both extenders are killed": func(ctx context.Context, leader string) error {
			if err := s.Kill(other(leader)); err != nil {
				return err
			}
			if err := killAndRestart(ctx, s, leader); err != nil {
				return err
			}
			return s.Restart(ctx, other(leader))
		},
	} {
		t.Run(name, func(t *testing.T) {
			burst := stories.Burst{Replicas: 60, Quota: 5, MidwayAt: 4}
			if midway != nil {
				leader := awaitLeader(t, s)
				burst.Midway = func(ctx context.Context) error { return midway(ctx, leader) }
			}
			require.NoError(t, world.Play(t.Context(), stories.Story{
				Name:  "service-" + fmt.Sprint(time.Now().UnixNano()),
				Title: "60 replicas at once, 5 of them local, the extender as a service: " + name,
				Play:  func(ctx context.Context, w *stories.World) error { return stories.PlayBurst(ctx, w, burst) },
			}))
		})
	}
}

func other(replica string) string {
	if replica == system.ExtenderReplica(0) {
		return system.ExtenderReplica(1)
	}
	return system.ExtenderReplica(0)
}

func killAndRestart(ctx context.Context, s *system.System, name string) error {
	if err := s.Kill(name); err != nil {
		return err
	}
	return s.Restart(ctx, name)
}

// suspend stops the leader with SIGSTOP until the other extender leads, and then continues it.
func suspend(ctx context.Context, s *system.System, leader string) error {
	pid := s.PID(leader)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("suspending %s: %w", leader, err)
	}
	err := untilReady(ctx, s, other(leader))
	if continueErr := syscall.Kill(pid, syscall.SIGCONT); continueErr != nil {
		return fmt.Errorf("continuing %s: %w", leader, continueErr)
	}
	return err
}

func isReady(ctx context.Context, s *system.System, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HealthEndpoint(name)+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func untilReady(ctx context.Context, s *system.System, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		for _, name := range names {
			if isReady(ctx, s, name) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for one of %v to be ready: %w", names, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitLeader returns the extender that is ready. There must be exactly one.
func awaitLeader(t *testing.T, s *system.System) string {
	t.Helper()
	names := []string{system.ExtenderReplica(0), system.ExtenderReplica(1)}
	require.NoError(t, untilReady(t.Context(), s, names...))
	var ready []string
	for _, name := range names {
		if isReady(t.Context(), s, name) {
			ready = append(ready, name)
		}
	}
	require.Len(t, ready, 1, "exactly one replica leads")
	return ready[0]
}

// playClients sends the scheduler's request with the certificates of different clients.
func playClients(t *testing.T, s *system.System) {
	foreign := filterAs(t, s, "", "")
	assert.ErrorContains(t, foreign.err, "tls: certificate required")
	certFile, keyFile := s.Certificate("kube-apiserver-kubelet-client")
	assert.Equal(t, http.StatusForbidden, filterAs(t, s, certFile, keyFile).status)
	certFile, keyFile = s.Certificate(system.Admission)
	assert.ErrorContains(t, filterAs(t, s, certFile, keyFile).err, "tls: bad certificate", "it is a server certificate")
	certFile, keyFile = s.Certificate(system.SchedulerUser)
	scheduler := filterAs(t, s, certFile, keyFile)
	require.NoError(t, scheduler.err)
	assert.Equal(t, http.StatusBadRequest, scheduler.status, "the client is authorized; its request is empty")
	assert.Equal(t, uint16(tls.VersionTLS13), scheduler.version)
}

// answer is the result of a client's request.
type answer struct {
	err     error
	status  int
	version uint16
}

func filterAs(t *testing.T, s *system.System, certFile, keyFile string) answer {
	t.Helper()
	config := s.HTTPClient().Transport.(*http.Transport).TLSClientConfig.Clone()
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	client := http.Client{Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Post(s.ServiceEndpoint(system.Extender)+"/v1/filter", "application/json",
		bytes.NewReader([]byte("{}")))
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return answer{err: err, status: response.StatusCode, version: response.TLS.Version}
}
