// Package system runs trial systems: a real Kubernetes control plane, local nodes simulated by KWOK, a cloud simulated
// by ccisim, and Spillway's three programs. Each is a process of its own, with the permissions it has in production.
//
// All files of a system are in one directory, and each system has its own ports, so several can run at the same time. A
// system can outlive the process that started it: Start on the directory of a running system adopts it and starts the
// processes that have ended. The state is kept. The package builds nothing. It runs only on Linux, because it
// identifies processes through /proc.
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

// Start starts the system in config.Dir and returns when it is ready. Running processes keep running with their
// settings. If something fails, the error contains the end of the relevant log. Started processes then keep running,
// unless the system is to die with its parent.
func Start(ctx context.Context, config Config) (*System, error) {
	config, err := config.check()
	if err != nil {
		return nil, fmt.Errorf("checking the configuration of the trial system: %w", err)
	}
	for _, dir := range []string{"logs", "pids", "data/pki"} {
		if err := os.MkdirAll(filepath.Join(config.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("creating the directory of the trial system: %w", err)
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
		processes: newProcesses(config.Dir, config.DieWithParent, config.Environment...), started: time.Now(),
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

// checkBinaries reports all missing binaries, before anything is started.
func (s *System) checkBinaries() error {
	var missing []string
	for _, name := range append(s.config.wanted(), Etcd, APIServer) {
		program := family(name)
		if _, err := os.Stat(s.binary(program)); err != nil && !slices.Contains(missing, program) {
			missing = append(missing, program)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	where, command := s.config.BinDir, "make build"
	if version := s.config.Shape.Kubernetes; version != newestKubernetes {
		where += " and " + KubernetesBinDir(where, version)
		command = "K8S=" + version + " make build"
	}
	return fmt.Errorf("%s are not in %s: run `%s`", strings.Join(missing, ", "), where, command)
}

// prepare writes all files that the processes read, and creates the clients.
func (s *System) prepare() error {
	if err := s.pki.make(); err != nil {
		return err
	}
	authorities, err := cert.NewPool(s.pki.certFile("ca"))
	if err != nil {
		return fmt.Errorf("reading the CA: %w", err)
	}
	s.http = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}},
	}
	err = errors.Join(s.writeTokenFile(), s.writeKubeconfigs(), s.writeCloudCredentials(), s.writeVNodeConfigs(),
		s.writePolicyConfigs(), s.ConfigureScheduler(s.config.Scheduler), s.configureOtherScheduler())
	if err != nil {
		return err
	}
	s.rest, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	s.rest.QPS, s.rest.Burst = 2000, 4000
	s.rest.WarningHandler = rest.NoWarnings{} // Admission warns about Pods that a trial creates on purpose.
	if s.client, err = kubernetes.NewForConfig(s.rest); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	if s.dynamic, err = dynamic.NewForConfig(s.rest); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	return nil
}

// Kill ends the process with SIGKILL and returns when it has ended. If it is not running, Kill returns an error.
func (s *System) Kill(name string) error {
	process := s.processes.find(name)
	if process == nil {
		return fmt.Errorf("killing %s: it is not running", name)
	}
	return s.processes.end(context.Background(), name, process, syscall.SIGKILL, stopGrace)
}

// Restart ends the process gracefully if it is running, starts it, and returns when it is ready.
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

// Stop ends every process of the system and keeps its state. Start on the same directory continues from there. Stop can
// be called repeatedly.
func (s *System) Stop(ctx context.Context) error {
	defer s.processes.close()
	return Stop(ctx, s.config.Dir)
}

// Stop ends every process of the system in dir, no matter which process started it, and keeps the state. If the system
// is not running, Stop does nothing.
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

// Remove removes the state of the system in dir, and keeps its logs. The system must be stopped.
func Remove(dir string) error {
	var errs []error
	for _, name := range []string{"data", "pids", "kubeconfig"} {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the state of the trial system in %s: %w", dir, err)
	}
	return nil
}

// Running returns the names of the running processes, sorted.
func (s *System) Running() ([]string, error) {
	running, err := s.processes.all()
	var names []string
	for _, process := range running {
		names = append(names, process.name)
	}
	slices.Sort(names)
	return names, err
}

// PID returns the process ID of the process, or 0 if it is not running.
func (s *System) PID(name string) int {
	if process := s.processes.find(name); process != nil {
		return process.Pid
	}
	return 0
}

// Client returns a client with the permissions of the administrator and a rate limit that no test reaches.
func (s *System) Client() kubernetes.Interface { return s.client }

// RESTConfig returns a copy of the configuration of Client, for other kinds of clients.
func (s *System) RESTConfig() *rest.Config { return rest.CopyConfig(s.rest) }

// HTTPClient returns an HTTP client for the endpoints of the processes. It trusts the system's certificates.
func (s *System) HTTPClient() *http.Client { return s.http }

// Kubeconfig returns the path of the administrator's kubeconfig.
func (s *System) Kubeconfig() string { return filepath.Join(s.config.Dir, "kubeconfig") }

// Certificate returns the paths of the certificate that the CA has signed for a name, and of its key. The name is
// SchedulerUser or that of another client, or a process that serves TLS.
func (s *System) Certificate(name string) (certFile, keyFile string) {
	return s.pki.certFile(name), s.pki.keyFile(name)
}

// AuthorityFile returns the path of the CA certificate.
func (s *System) AuthorityFile() string { return s.pki.certFile("ca") }

// LogFile returns the path of the log of the process.
func (s *System) LogFile(name string) string { return s.processes.logFile(name) }

// data returns the path of an internal file of the system.
func (s *System) data(name string) string { return filepath.Join(s.config.Dir, "data", name) }

// binary returns the executable of a program.
func (s *System) binary(program string) string {
	dir := s.config.BinDir
	if ofKubernetes(program) {
		dir = KubernetesBinDir(dir, s.config.Shape.Kubernetes)
	}
	return cmp.Or(s.config.Binaries[program], filepath.Join(dir, program))
}

func (s *System) report(format string, values ...any) {
	fmt.Fprintf(s.config.Progress, "%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, values...))
}

// vnodeIndex returns the index of the virtual node. It returns false if the process is not a virtual node.
func vnodeIndex(name string) (int, bool) {
	for i := range MaxVirtualNodes {
		if name == VNode(i) {
			return i, true
		}
	}
	return 0, false
}

// family returns the name of the program of the process: "vnode" for all virtual nodes, Forwarder for both forwarders,
// and otherwise the name itself, without the number of one of several.
func family(name string) string {
	if _, ok := vnodeIndex(name); ok {
		return vnode
	}
	switch name {
	case ExtenderReplica(0), ExtenderReplica(1):
		return Extender
	case Second(Admission):
		return Admission
	case Second(Scheduler), OtherScheduler:
		return Scheduler
	case AdmissionForwarder:
		return Forwarder
	}
	return name
}
