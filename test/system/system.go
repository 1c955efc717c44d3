// Package system runs trial systems: a real Kubernetes control plane, local nodes played by KWOK, a cloud played by ccisim, and
// Spillway's three programs, each a process of its own with the rights that it would have in production and no more.
//
// All that belongs to a system lives in one directory, and its ports are its own, so several run side by side. A system is not
// bound to the process that started it: Start on the directory of a running one takes it over and starts what has died, with
// its state kept. The package builds nothing, and it runs on Linux only: processes are known by what /proc says of them.
package system

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

// System is a running trial system.
type System struct {
	config    Config
	state     state
	pki       pki
	processes *processes
	started   time.Time

	http    *http.Client
	rest    *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
}

// Start brings up the system that lives in config.Dir and returns when all of it is ready. What runs already keeps running, with
// the settings that it was started with. When something fails, the error carries the end of the log that matters, and what
// has been started keeps running unless it is to die with its parent.
func Start(ctx context.Context, config Config) (*System, error) {
	config, err := config.check()
	if err != nil {
		return nil, fmt.Errorf("checking the configuration of the trial system: %w", err)
	}
	for _, dir := range []string{"logs", "pids", "data/pki"} {
		if err := os.MkdirAll(filepath.Join(config.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("making the directory of the trial system: %w", err)
		}
	}
	release, err := lock(filepath.Join(config.Dir, "lock"), false)
	if err != nil {
		return nil, err
	}
	defer release()
	recorded, err := config.loadState()
	if err != nil {
		return nil, err
	}
	s := &System{
		config: config, state: recorded, pki: pki(filepath.Join(config.Dir, "data", "pki")),
		processes: newProcesses(config.Dir, config.DieWithParent), started: time.Now(),
	}
	if err := s.bringUp(ctx); err != nil {
		if config.DieWithParent {
			err = errors.Join(err, s.processes.endAll(context.WithoutCancel(ctx)))
			s.processes.close()
		}
		return nil, fmt.Errorf("starting the trial system in %s: %w", config.Dir, err)
	}
	return s, nil
}

func (s *System) bringUp(ctx context.Context) error {
	if err := s.checkBinaries(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.launch(Etcd, APIServer); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, APIServer); err != nil {
		return err
	}
	if err := s.grant(ctx); err != nil {
		return err
	}
	if err := s.createLocalNodes(ctx); err != nil {
		return err
	}
	names := s.config.wanted()
	if err := s.launch(names...); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, names...); err != nil {
		return err
	}
	if err := s.awaitCluster(ctx); err != nil {
		return err
	}
	if !s.config.has(Admission) {
		return nil
	}
	return s.RegisterWebhooks(ctx)
}

// checkBinaries names all binaries that are missing, before anything is started.
func (s *System) checkBinaries() error {
	var missing []string
	for _, name := range append(s.config.wanted(), Etcd, APIServer) {
		if _, err := os.Stat(s.binary(family(name))); err != nil {
			missing = append(missing, family(name))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not built: %s are not in %s: `make build` makes them", strings.Join(missing, ", "), s.config.BinDir)
	}
	return nil
}

// prepare writes all files that the processes read, and makes the clients.
func (s *System) prepare() error {
	if err := s.pki.make(); err != nil {
		return err
	}
	authorities, err := cert.NewPool(s.pki.certFile("ca"))
	if err != nil {
		return fmt.Errorf("reading the certificate authority: %w", err)
	}
	s.http = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}},
	}
	if err := errors.Join(s.writeTokenFile(), s.writeKubeconfigs(), s.writeCloudCredentials(), s.ConfigureScheduler(s.config.Scheduler)); err != nil {
		return err
	}
	s.rest, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	s.rest.QPS, s.rest.Burst = 2000, 4000
	if s.client, err = kubernetes.NewForConfig(s.rest); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if s.dynamic, err = dynamic.NewForConfig(s.rest); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

// Kill ends the process at once, with SIGKILL, and returns when it is gone. It is an error if it does not run.
func (s *System) Kill(name string) error {
	process := s.processes.find(name)
	if process == nil {
		return fmt.Errorf("killing %s: it does not run", name)
	}
	return s.processes.end(context.Background(), name, process, syscall.SIGKILL, stopGrace)
}

// Restart ends the process, gracefully, if it runs, starts it and returns when it is ready.
func (s *System) Restart(ctx context.Context, name string) error {
	if process := s.processes.find(name); process != nil {
		if err := s.processes.end(ctx, name, process, syscall.SIGTERM, stopGrace); err != nil {
			return err
		}
	}
	if err := s.launch(name); err != nil {
		return err
	}
	return s.awaitReady(ctx, name)
}

// Stop ends every process of the system and keeps its state: Start on the same directory goes on from there. It may be
// called again.
func (s *System) Stop(ctx context.Context) error {
	defer s.processes.close()
	return Stop(ctx, s.config.Dir)
}

// Stop ends every process of the system that lives in dir, whoever started it, and keeps the system's state. A system that does
// not run is no error.
func Stop(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory of the trial system: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	release, err := lock(filepath.Join(dir, "lock"), false)
	if err != nil {
		return err
	}
	defer release()
	if err := newProcesses(dir, false).endAll(ctx); err != nil {
		return fmt.Errorf("stopping the trial system in %s: %w", dir, err)
	}
	return nil
}

// Remove forgets the state of the system that lives in dir; its logs stay. The system must be stopped.
func Remove(dir string) error {
	var faults []error
	for _, name := range []string{"data", "pids", "kubeconfig"} {
		faults = append(faults, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("forgetting the state of the trial system in %s: %w", dir, err)
	}
	return nil
}

// Running returns the names of the processes that run, sorted.
func (s *System) Running() ([]string, error) {
	running, err := s.processes.all()
	var names []string
	for _, process := range running {
		names = append(names, process.name)
	}
	slices.Sort(names)
	return names, err
}

// PID is the process id of the process, 0 if it does not run.
func (s *System) PID(name string) int {
	if process := s.processes.find(name); process != nil {
		return process.Pid
	}
	return 0
}

// Client returns a client with the rights of the administrator and a rate limit that a burst does not meet.
func (s *System) Client() kubernetes.Interface { return s.client }

// RESTConfig returns a copy of the configuration of Client, for clients of other kinds.
func (s *System) RESTConfig() *rest.Config { return rest.CopyConfig(s.rest) }

// HTTPClient returns a client that trusts the system's certificates, for the endpoints of its processes.
func (s *System) HTTPClient() *http.Client { return s.http }

// Kubeconfig is the path of the administrator's kubeconfig.
func (s *System) Kubeconfig() string { return filepath.Join(s.config.Dir, "kubeconfig") }

// Certificate returns the files of the certificate that the system's authority has signed for a name, and of its key: SchedulerUser and
// others that are clients, or a process that serves TLS.
func (s *System) Certificate(name string) (certFile, keyFile string) {
	return s.pki.certFile(name), s.pki.keyFile(name)
}

// AuthorityFile is the path of the certificate of the system's authority.
func (s *System) AuthorityFile() string { return s.pki.certFile("ca") }

// LogFile is the path of the log of the process.
func (s *System) LogFile(name string) string { return s.processes.logFile(name) }

// data is the path of a file that the system keeps for itself.
func (s *System) data(name string) string { return filepath.Join(s.config.Dir, "data", name) }

// binary is the file that a process, or a virtual node where it is "vnode", is run from.
func (s *System) binary(name string) string {
	return cmp.Or(s.config.Binaries[name], filepath.Join(s.config.BinDir, name))
}

func (s *System) say(format string, values ...any) {
	fmt.Fprintf(s.config.Progress, "%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, values...))
}

// vnodeIndex returns which virtual node the process is, and false if it is none.
func vnodeIndex(name string) (int, bool) {
	for i := range maxVirtualNodes {
		if name == VNode(i) {
			return i, true
		}
	}
	return 0, false
}

// family is the name that stands for the process in a Config: "vnode" for all virtual nodes, "extender" for all extenders, its own for the others.
func family(name string) string {
	if _, ok := vnodeIndex(name); ok {
		return vnode
	}
	if _, ok := replicaIndex(name); ok {
		return Extender
	}
	return name
}

// replicaIndex returns which extender behind the Forwarder the process is, and false if it is none.
func replicaIndex(name string) (int, bool) {
	for i := range extenderReplicas {
		if name == ExtenderReplica(i) {
			return i, true
		}
	}
	return 0, false
}
