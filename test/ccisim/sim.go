package ccisim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Sim is one simulated CCI account. Its methods may be called from any goroutine.
type Sim struct {
	cfg      Config
	accounts atomic.Pointer[accounts]

	mu        sync.RWMutex
	store     *store
	life      *agenda
	addresses *addressPool
	logs      map[types.UID]podLogs
	processes map[containerKey]*process
	exporters map[types.UID]*http.Server
	lists     *savedLists
	// held are the Pods that wait for something outside of them: a node, an address, a ConfigMap.
	held map[key]bool
	// eventOrder are the events' keys, oldest first.
	eventOrder []key
	// cut is closed, and replaced, to end all watches; abrupt says how.
	cut    chan struct{}
	abrupt bool

	// first is the CCI 1.0 of the account, nil in itself, where isFirst says that it is.
	first   *Sim
	isFirst bool

	strategies map[*resource]strategy
	policies   atomic.Pointer[Policies]
	faults     *faultTable
	records    *records
	journal    *journal
	tokens     *issuedTokens

	// processDir holds the directories of Pods that are processes; empty where Config.Processes is off.
	processDir string
	spawnOnce  sync.Once
	spawning   chan func()

	// wake tells Run that something is due earlier than it believes.
	wake chan struct{}
	// stopped is closed when Run ends, which ends all watches and log streams.
	stopped  chan struct{}
	stopOnce sync.Once
}

// New checks the configuration, loads the state file if there is one, and starts nothing: time passes in Run.
func New(cfg Config) (*Sim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking the simulator's configuration: %w", err)
	}
	s, err := newGeneration(cfg.withDefaults(), strategies())
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if s.first, err = s.newFirst(); err != nil {
		return nil, err
	}
	s.first.policies.Store(s.policies.Load())
	return s, nil
}

// newGeneration makes one of the two APIs of an account.
func newGeneration(cfg Config, kinds map[*resource]strategy) (*Sim, error) {
	subnet, err := parseSubnet(cfg.SubnetCIDR)
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg:        cfg,
		store:      newStore(cfg.HistoryLimit),
		strategies: kinds,
		life:       newAgenda(),
		addresses:  newAddressPool(subnet),
		logs:       map[types.UID]podLogs{},
		processes:  map[containerKey]*process{},
		exporters:  map[types.UID]*http.Server{},
		lists:      newSavedLists(),
		held:       map[key]bool{},
		cut:        make(chan struct{}),
		faults:     newFaultTable(),
		records:    newRecords(),
		wake:       make(chan struct{}, 1),
		stopped:    make(chan struct{}),
		tokens:     &issuedTokens{byToken: map[string]issuedToken{}},
		spawning:   make(chan func()),
	}
	if cfg.Processes {
		s.processDir = filepath.Join(os.TempDir(), "ccisim-"+string(newUID()))
	}
	s.policies.Store(&cfg.Policies)
	s.accounts.Store(newAccounts(cfg.Credentials))
	return s, nil
}

// open loads the state file.
func (s *Sim) open() error {
	if err := s.openJournal(); err != nil {
		return err
	}
	s.store.record = s.recordChange
	return nil
}

// Handler serves the CCI API, the simulator's own under /_sim/, and /healthz and /readyz for those who start it.
func (s *Sim) Handler() http.Handler {
	admin := s.adminHandler()
	// A ServeMux would redirect odd paths, which the service does not.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz", r.URL.Path == "/readyz":
			_, _ = io.WriteString(w, "ok\n")
		case r.URL.Path == tokensPath:
			s.serveTokens(w, r)
		case strings.HasPrefix(r.URL.Path, "/_sim/"):
			admin.ServeHTTP(w, r)
		default:
			s.serving(r.URL.Path).serveAPI(w, r)
		}
	})
}

// Run lets time pass until ctx ends: Pods start, end and disappear only while it runs. It then ends all streams and returns nil. It may
// be called once. Processes of containers end with it. Requests are still answered, and kept in the state file, until Close.
func (s *Sim) Run(ctx context.Context) error {
	if s.first != nil {
		var group sync.WaitGroup
		group.Go(func() { _ = s.first.Run(ctx) }) // It returns nil, as this does.
		defer group.Wait()
	}
	defer s.stopOnce.Do(func() {
		s.endProcesses()
		s.stopExporters()
		if s.processDir != "" {
			if err := os.RemoveAll(s.processDir); err != nil {
				s.cfg.Logger.Error("Removing the directory of processes failed", "error", err)
			}
		}
		close(s.stopped)
	})
	for {
		wait := s.advanceDue()
		timer := s.cfg.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C():
		}
	}
}

func (s *Sim) now() time.Time { return s.cfg.Clock.Now() }

// newUID makes a random identity.
func newUID() types.UID { return uuid.NewUUID() }
