package play

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	configv1alpha1 "k8s.io/component-base/config/v1alpha1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/proxy"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// Options determine the components of a Stage.
type Options struct {
	// Dir is the directory of the trial system. BinDir contains the binaries of make build.
	Dir, BinDir string
	// Size is the size of the plan that will be played.
	Size plan.Size
	// Kubernetes is the version of the control plane. If it is empty, it is the newest.
	Kubernetes string
	// Extender is the binary of the extender. If it is empty, it is the one in BinDir.
	Extender string
	// Progress receives a line for each step of the start.
	Progress io.Writer
	Logger   *slog.Logger
}

// virtualNodes is the number of virtual nodes.
const virtualNodes = 2

// With starts a trial system with the proxies, calls do and stops the system. The log contains everything that happens.
func With(ctx context.Context, o Options, log *record.Log, do func(context.Context, *Stage) error) (err error) {
	stage := &Stage{log: log, size: o.Size, logger: o.Logger, faults: &Faults{log: log, service: o.Size.Service}}
	group, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		err = errors.Join(err, group.Wait())
	}()
	if err := stage.startProxies(running, group, o); err != nil {
		return err
	}
	if err := stage.startSystem(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.system.Stop(context.WithoutCancel(ctx)), system.Remove(o.Dir)) }()
	// Histories cause warnings on purpose, so the client does not print them.
	withoutWarnings := stage.system.RESTConfig()
	withoutWarnings.WarningHandler = rest.NoWarnings{}
	if stage.client, err = kubernetes.NewForConfig(withoutWarnings); err != nil {
		return fmt.Errorf("creating the client of the histories: %w", err)
	}
	if err := allowLease(ctx, stage.client); err != nil {
		return err
	}
	if err := prepareCluster(ctx, stage.system, o.Size.WideNodes, o.Size.TightNodes); err != nil {
		return err
	}
	if stage.recorder, err = record.NewRecorder(stage.system.RESTConfig(), log, time.Now); err != nil {
		return err
	}
	group.Go(func() error { return stage.recorder.RunPods(running) })
	group.Go(func() error { return stage.recorder.RunNodes(running) })
	return stage.whileKeptUp(ctx, do)
}

// whileKeptUp calls do while processes that exit on their own are restarted.
func (s *Stage) whileKeptUp(ctx context.Context, do func(context.Context, *Stage) error) error {
	group, ctx := errgroup.WithContext(ctx)
	keeping, stop := context.WithCancel(ctx)
	group.Go(func() error { return s.faults.keepUp(keeping) })
	group.Go(func() error {
		defer stop()
		return do(ctx, s)
	})
	return group.Wait()
}

func (s *Stage) startProxies(ctx context.Context, group *errgroup.Group, o Options) (err error) {
	kubeconfig := filepath.Join(o.Dir, "kubeconfig")
	if s.faults.asExtender, err = proxy.ListenAPIServer(kubeconfig, s.log, s.logger); err != nil {
		return err
	}
	if s.faults.asScheduler, err = proxy.ListenAPIServer(kubeconfig, s.log, s.logger); err != nil {
		return err
	}
	if s.faults.extender, err = proxy.ListenExtender(s.log, isVirtual, s.logger); err != nil {
		return err
	}
	certFile, keyFile := system.CertificateFiles(o.Dir, system.APIServer)
	group.Go(func() error { return s.faults.asExtender.Run(ctx, certFile, keyFile) })
	group.Go(func() error { return s.faults.asScheduler.Run(ctx, certFile, keyFile) })
	group.Go(func() error { return s.faults.extender.Run(ctx) })
	return nil
}

func (s *Stage) startSystem(ctx context.Context, o Options) (err error) {
	if err := errors.Join(system.Stop(ctx, o.Dir), system.Remove(o.Dir)); err != nil {
		return err
	}
	config := system.Config{
		Dir: o.Dir, BinDir: o.BinDir, DieWithParent: true, Progress: o.Progress,
		// Some Pods exclude the virtual nodes so that they wait for a slot (plan.WideOnly). They must keep their quota.
		DisabledRules: []policy.Reason{policy.ReasonNodeSelector},
		WayHome:       wayHome(plan.DefaultWayHome()),
		Shape: system.Shape{
			LocalNodes: o.Size.WideNodes, LocalCPU: "16", LocalMemory: "64Gi", VirtualNodes: virtualNodes,
			Kubernetes: o.Kubernetes,
		},
		Routes: map[string]string{
			system.Extender: s.faults.asExtender.URL(), system.Scheduler: s.faults.asScheduler.URL(),
		},
		Scheduler: func(c *schedulerv1.KubeSchedulerConfiguration) {
			// The proxy reads the requests, so the scheduler uses plain HTTP. The proxy may use mutual TLS to the
			// extender.
			e := &c.Extenders[0]
			e.URLPrefix, e.EnableHTTPS, e.TLSConfig = s.faults.extender.URL()+"/v1", false, nil
		},
	}
	if o.Size.Service {
		config.Shape.Topology = system.TopologyService
	} else {
		electScheduler(&config)
	}
	if o.Extender != "" {
		config.Binaries = map[string]string{system.Extender: o.Extender}
	}
	if s.system, err = system.Start(ctx, config); err != nil {
		return fmt.Errorf("starting the trial system: %w", err)
	}
	s.faults.system = s.system
	transport, err := s.toExtender(o.Size.Service)
	if err != nil {
		return err
	}
	s.faults.extender.Target(s.system.ServiceEndpoint(system.Extender), transport)
	return nil
}

// wayHome returns the section wayHome of the extender's configuration.
func wayHome(w plan.WayHome) map[string]any {
	return map[string]any{
		"maxMoves": w.MaxMoves, "pause": w.Pause.String(), "minAge": w.MinAge.String(),
		"stableFor": w.StableFor.String(),
	}
}

// The Lease of kube-scheduler. Whenever the scheduler ends, the next one starts a new term.
const leaseNamespace, leaseName = "kube-system", "kube-scheduler"

// electScheduler makes the scheduler elect its leader, and the extender use that Lease, as in the chart.
func electScheduler(config *system.Config) {
	configure := config.Scheduler
	config.Scheduler = func(c *schedulerv1.KubeSchedulerConfiguration) {
		configure(c)
		c.LeaderElection = configv1alpha1.LeaderElectionConfiguration{
			LeaderElect: new(true), ResourceNamespace: leaseNamespace, ResourceName: leaseName,
			LeaseDuration: metav1.Duration{Duration: 8 * time.Second},
			RenewDeadline: metav1.Duration{Duration: 6 * time.Second},
			RetryPeriod:   metav1.Duration{Duration: time.Second},
		}
	}
	config.Args = map[string][]string{system.Extender: {"--scheduler-lease=" + leaseNamespace + "/" + leaseName}}
}

// allowLease allows the extender to read the Lease. In the chart both use one ServiceAccount.
func allowLease(ctx context.Context, client kubernetes.Interface) error {
	const name = "proof-scheduler-lease"
	meta := metav1.ObjectMeta{Name: name, Namespace: leaseNamespace}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{leaseName},
		Verbs: []string{"get"},
	}}}
	if _, err := client.RbacV1().Roles(leaseNamespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("allowing the extender to read the lease of the scheduler: %w", err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{
			{
				Kind: rbacv1.ServiceAccountKind, Namespace: system.ProgramNamespace,
				Name: system.ServiceAccount(system.Extender),
			},
		},
	}
	if _, err := client.RbacV1().RoleBindings(leaseNamespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("allowing the extender to read the lease of the scheduler: %w", err)
	}
	return nil
}

// toExtender returns the transport from the proxy to the extender: with the scheduler's certificate if the extender
// requires one.
func (s *Stage) toExtender(service bool) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if !service {
		return transport, nil
	}
	certificate, err := tls.LoadX509KeyPair(s.system.Certificate(system.SchedulerUser))
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's certificate: %w", err)
	}
	authorities, err := cert.NewPool(s.system.AuthorityFile())
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	transport.TLSClientConfig = &tls.Config{
		Certificates: []tls.Certificate{certificate}, RootCAs: authorities, MinVersion: tls.VersionTLS13,
	}
	return transport, nil
}

// isVirtual reports whether the name is that of a virtual node.
func isVirtual(node string) bool { return strings.HasPrefix(node, system.VirtualNodePrefix) }
