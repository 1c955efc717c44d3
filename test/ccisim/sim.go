package ccisim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/container"
	"github.com/spillway-k8s/spillway/test/ccisim/control"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
	"github.com/spillway-k8s/spillway/test/ccisim/vpc"
)

// Sim is one simulated CCI account. Its methods may be called from any goroutine.
type Sim struct {
	clock    clock.PassiveClock
	subnets  []Subnet
	auth     *api.Auth
	faults   *faults.Table
	requests *api.Requests
	pods     *store.PodHistory

	cci2, cci1 *generation
	// vpc is nil without networks. The Pods of CCI 1.0 have none.
	vpc *vpc.VPC
}

// generation is one of the two APIs of the account. An object in one is not visible in the other. Credentials, tokens,
// faults, policies and records are shared.
type generation struct {
	store *store.Store
	life  *podlife.Controller
	api   *api.Server
}

// New checks the configuration, and loads the state file if there is one. It starts nothing: time passes in Run.
func New(cfg Config) (*Sim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking the simulator's configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Sim{
		clock:    cfg.Clock,
		subnets:  cfg.Subnets,
		auth:     api.NewAuth(cfg.Credentials, cfg.Clock, cfg.TokenLife),
		faults:   faults.NewTable(cfg.Policies),
		requests: api.NewRequests(),
		pods:     store.NewPodHistory(),
	}
	if cfg.Networks {
		if err := s.makeNetwork(cfg); err != nil {
			return nil, fmt.Errorf("creating the network of the simulated cloud: %w", err)
		}
	}
	if err := s.makeGenerations(cfg); err != nil {
		if s.vpc != nil {
			s.vpc.Close()
		}
		return nil, err
	}
	return s, nil
}

func (s *Sim) makeGenerations(cfg Config) (err error) {
	if s.cci2, err = s.newGeneration(cfg, objects.CCI2, cfg.StateFile); err != nil {
		return err
	}
	stateFile := cfg.StateFile
	if stateFile != "" {
		stateFile += ".cci1"
	}
	s.cci1, err = s.newGeneration(cfg, objects.CCI1, stateFile)
	return err
}

// makeNetwork creates the VPC with its subnets and routes.
func (s *Sim) makeNetwork(cfg Config) error {
	if err := container.Check(); err != nil {
		return err
	}
	others, subnets, _ := cfg.ranges() // They are valid.
	all := []netip.Prefix{others}
	for _, subnet := range subnets {
		if subnet.Range.IsValid() {
			all = append(all, subnet.Range)
		}
	}
	var err error
	if s.vpc, err = vpc.New(all); err != nil {
		return err
	}
	return s.SetRoutes(cfg.Routes)
}

// Init must be the first that the main function calls of a program that uses Config.Networks. The program runs itself
// again for each container, and Init does not return there.
func Init() { container.Init() }

func (s *Sim) newGeneration(cfg Config, which objects.Generation, stateFile string) (*generation, error) {
	addresses, subnets, errs := cfg.ranges()
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	stored, err := store.Open(store.Config{
		Generation: which, StateFile: stateFile, HistoryLimit: cfg.HistoryLimit, Faults: s.faults, Pods: s.pods,
		Clock: cfg.Clock, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	settings := podlife.Config{
		Store: stored, Faults: s.faults, Clock: cfg.Clock, Logger: cfg.Logger, Region: cfg.Region,
		Range: addresses, Subnets: subnets,
		NetworkDelay: cfg.NetworkDelay, ScheduleDelay: cfg.ScheduleDelay, StartDelay: cfg.StartDelay,
		InitRunTime: cfg.InitRunTime, RunTime: cfg.RunTime, StopDelay: cfg.StopDelay, FinalizerDelay: cfg.FinalizerDelay,
		SnapshotDelay: cfg.SnapshotDelay, RestartBackoff: cfg.RestartBackoff, MaxRestartBackoff: cfg.MaxRestartBackoff,
		Processes: cfg.Processes, Exporters: cfg.Exporters,
	}
	if which == objects.CCI2 {
		settings.VPC, settings.Images = s.vpc, cfg.Images
	}
	life := podlife.New(settings)
	server := api.New(api.Config{
		Generation: which, Store: stored, Life: life, Auth: s.auth, Faults: s.faults, Requests: s.requests,
		Clock: cfg.Clock, Logger: cfg.Logger,
		BookmarkInterval: cfg.BookmarkInterval, WatchTimeout: cfg.WatchTimeout, ExecIdle: cfg.ExecIdle,
	})
	return &generation{store: stored, life: life, api: server}, nil
}

func (s *Sim) generations() []*generation { return []*generation{s.cci2, s.cci1} }

// generationOf returns the generation that has a namespace: CCI 2.0 if both or none have it.
func (s *Sim) generationOf(namespace string) *generation {
	for _, g := range s.generations() {
		var phase corev1.NamespacePhase
		g.store.View(func(v store.View) { phase = v.NamespacePhase(namespace) })
		if phase != "" {
			return g
		}
	}
	return s.cci2
}

// Handler serves what ServiceHandler and ControlHandler serve.
func (s *Sim) Handler() http.Handler {
	controls, service := s.ControlHandler(), s.ServiceHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, control.Prefix) {
			controls.ServeHTTP(w, r)
			return
		}
		service.ServeHTTP(w, r)
	})
}

// ControlHandler serves the simulator's own API under /_sim/. It needs no credentials and can replace them.
func (s *Sim) ControlHandler() http.Handler { return control.Handler(s) }

// ServiceHandler serves the CCI API, /healthz and /readyz.
func (s *Sim) ServiceHandler() http.Handler {
	tokens, subnets := s.auth.TokenHandler(s.requests), s.auth.SubnetHandler(s.subnets)
	// A ServeMux would redirect paths that are not clean. The service does not.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", s.clock.Now().UTC().Format(http.TimeFormat)) // That of the simulated time.
		switch path := r.URL.Path; {
		case path == "/healthz", path == "/readyz":
			_, _ = io.WriteString(w, "ok\n")
		case path == api.TokensPath:
			tokens.ServeHTTP(w, r)
		case len(s.subnets) > 0 && api.IsSubnetPath(path):
			subnets.ServeHTTP(w, r)
		case path == objects.FirstAPI, strings.HasPrefix(path, objects.FirstAPI+"/"),
			strings.HasPrefix(path, objects.FirstNetworks+"/"):
			s.cci1.api.ServeHTTP(w, r)
		default:
			s.cci2.api.ServeHTTP(w, r)
		}
	})
}

// Run lets time pass until ctx ends: Pods start, end and disappear only while it runs. It then ends all streams and all
// processes of containers, and returns nil. It may be called once. Requests are still served, and kept in the state
// file, until Close.
func (s *Sim) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, g := range s.generations() {
		group.Go(func() { g.life.Run(ctx) })
	}
	group.Wait()
	return nil
}

// Close removes the networks, closes the state files, and returns the errors of all writes since they were opened. It
// is called last, and may be called twice.
func (s *Sim) Close() error {
	if s.vpc != nil {
		s.vpc.Close()
	}
	return errors.Join(s.cci1.store.Close(), s.cci2.store.Close())
}

// SetRoutes replaces the networks that the VPC routes to this machine, as CIDRs: see Config.Routes.
func (s *Sim) SetRoutes(cidrs []string) error {
	routes, err := parseRoutes(cidrs)
	if err != nil {
		return err
	}
	if s.vpc == nil {
		return errors.New("the simulated cloud has no networks")
	}
	return s.vpc.SetRoutes(routes)
}

// SetCredentials replaces the accepted credentials. Requests that are signed with other credentials then get 401. Open
// streams continue.
func (s *Sim) SetCredentials(list []Credential) error { return s.auth.SetCredentials(list) }

// RevokeTokens makes all issued tokens invalid, as a change of the account's password does.
func (s *Sim) RevokeTokens() { s.auth.RevokeTokens() }

// Policies returns the present policies.
func (s *Sim) Policies() Policies { return s.faults.Policies() }

// SetPolicies replaces the policies. An unset field gets its default.
func (s *Sim) SetPolicies(policies Policies) error {
	if err := s.faults.SetPolicies(policies); err != nil {
		return err
	}
	s.cci2.store.Update(store.Tx.SavePolicies)
	return nil
}

// AddFault injects a fault, and returns it with its ID.
func (s *Sim) AddFault(f Fault) (Fault, error) {
	f.ID = ""
	added, err := s.faults.Add(f)
	if err != nil {
		return Fault{}, err
	}
	s.faultsChanged()
	return added, nil
}

// RemoveFault removes the fault with the ID, and reports whether there was one.
func (s *Sim) RemoveFault(id string) bool {
	if id == "" || !s.faults.Remove(id) {
		return false
	}
	s.faultsChanged()
	return true
}

// ResetFaults removes all faults. Pods that waited because of one continue.
func (s *Sim) ResetFaults() {
	s.faults.Remove("")
	s.faultsChanged()
}

// Faults returns the injected faults, oldest first.
func (s *Sim) Faults() []Fault { return s.faults.List() }

// faultsChanged saves the faults, and reconciles everything that they may affect.
func (s *Sim) faultsChanged() {
	s.cci1.store.Update(s.cci1.life.EnqueueFaulty)
	s.cci2.store.Update(func(tx store.Tx) {
		tx.SaveFaults()
		s.cci2.life.EnqueueFaulty(tx)
	})
}

// CutWatches ends all open watches: properly, or, if abrupt, by closing their connections.
func (s *Sim) CutWatches(abrupt bool) {
	for _, g := range s.generations() {
		g.store.CutWatches(abrupt)
	}
}

// Compact drops the history and the lists that are read in pages. Every older resource version and continue token then
// gets 410.
func (s *Sim) Compact() {
	for _, g := range s.generations() {
		g.store.Compact()
	}
}

// FinishContainer ends a running container with an exit code, as if its process had ended.
func (s *Sim) FinishContainer(namespace, pod, container string, exitCode int32) error {
	return s.generationOf(namespace).life.FinishContainer(namespace, pod, container, exitCode)
}

// AppendLog writes a line to the log of a running container. Line ends in it make several lines.
func (s *Sim) AppendLog(namespace, pod, container, text string) error {
	return s.generationOf(namespace).life.AppendLog(namespace, pod, container, text)
}

// AddImageSnapshotPod adds a Pod to a namespace as the image snapshot maker of the service does: no client has
// requested it, and none may change it. It returns the name of the Pod.
func (s *Sim) AddImageSnapshotPod(namespace string) (string, error) {
	return s.generationOf(namespace).api.AddImageSnapshotPod(namespace)
}

// Requests returns the counts of all requests, in a fixed order.
func (s *Sim) Requests() []RequestCount { return s.requests.Counts() }

// CountRequests returns the number of requests with a verb, a resource and a status code. Empty and 0 match any.
func (s *Sim) CountRequests(verb, resource string, code int) int {
	return s.requests.Total(verb, resource, code)
}

// DroppedFields returns the fields of bodies and queries that the service does not list, oldest first, 10,000 at most.
func (s *Sim) DroppedFields() []DroppedField { return s.requests.DroppedFields() }

// ResetRequests removes the counts of requests and the dropped fields. The records of Pods stay.
func (s *Sim) ResetRequests() { s.requests.Reset() }

// PodsEver returns every Pod that was ever created, in that order. Tests use it to prove that no Pod was created twice
// or lost.
func (s *Sim) PodsEver() []PodRecord { return s.pods.All() }

// Namespaces returns the names of the namespaces of CCI 2.0. Tests use it to prove that nothing is left.
func (s *Sim) Namespaces() []string {
	var names []string
	s.cci2.store.View(func(v store.View) {
		for obj := range v.All(objects.Namespaces) {
			names = append(names, obj.GetName())
		}
	})
	return names
}

// CountPods returns the number of Pods of a namespace that are in a phase now.
func (s *Sim) CountPods(namespace string, phase corev1.PodPhase) int {
	n := 0
	s.generationOf(namespace).store.View(func(v store.View) {
		for obj := range v.All(objects.Pods) {
			if obj.GetNamespace() == namespace && obj.(*Pod).Status.Phase == phase {
				n++
			}
		}
	})
	return n
}
