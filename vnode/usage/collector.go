package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/spillway-k8s/spillway/internal/logging"
)

const (
	// minInterval is the shortest time between two rounds. metrics-server sends a request every 15 seconds.
	minInterval = 10 * time.Second
	// maxAge is the age up to which a sample is served.
	maxAge = time.Minute
	// maxWait is how long a caller waits for a round before it receives the samples that exist. metrics-server gives up
	// after 10 seconds.
	maxWait = 7 * time.Second
)

// Config configures a Collector. All fields are required unless their comment says otherwise.
type Config struct {
	// NodeName is the name of the Node.
	NodeName string
	// Targets returns the Pods whose exporters are read. It must not block.
	Targets func() []Target
	// Concurrency is the number of exporters that are read at once. Timeout is the timeout of one request.
	Concurrency int
	Timeout     time.Duration
	// Client sends the requests. It should not keep connections open, because Pods are short-lived.
	Client *http.Client
	// Now returns the current time.
	Now func() time.Time
	// Registerer registers the collector's metrics. Nil means that they are not exported.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Collector keeps the newest sample of each Pod. It is safe for concurrent use.
type Collector struct {
	config  Config
	metrics metrics
	started time.Time

	mu sync.Mutex
	// samples maps Pod UIDs to samples. A sample is replaced, never changed.
	samples map[string]*Sample
	// failed contains the UIDs of Pods whose last request failed.
	failed map[string]bool
	// cpu is the time that all Pods have used between their samples, in core-seconds. Unlike the sum over the present
	// Pods, it never decreases.
	cpu float64
	// round is closed when the present round ends. It is nil while there is no round. last is the start of the last round.
	round chan struct{}
	last  time.Time
}

// New returns a Collector after it has validated the configuration. It sends no requests.
func New(config Config) (*Collector, error) {
	if config.Targets == nil || config.Client == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the usage collector: targets, client, clock and logger must be set")
	}
	if config.Concurrency <= 0 || config.Timeout <= 0 {
		return nil, fmt.Errorf("creating the usage collector: concurrency %d and timeout %s must be above zero",
			config.Concurrency, config.Timeout)
	}
	return &Collector{
		config: config, metrics: newMetrics(config.Registerer), started: config.Now(),
		samples: map[string]*Sample{}, failed: map[string]bool{},
	}, nil
}

// Samples returns the samples that are at most one minute old, sorted by namespace and name, and the CPU time that the
// node has used in total, in core-seconds. It reads each exporter at most once in 10 seconds, and blocks for at most 7
// seconds.
func (c *Collector) Samples(ctx context.Context) ([]*Sample, float64) {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	if round := c.begin(); round != nil {
		select {
		case <-round:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*Sample
	for _, sample := range c.samples {
		if c.config.Now().Sub(sample.At) <= maxAge {
			all = append(all, sample)
		}
	}
	slices.SortFunc(all, func(a, b *Sample) int {
		return strings.Compare(a.Target.Namespace+"/"+a.Target.Name, b.Target.Namespace+"/"+b.Target.Name)
	})
	return all, c.cpu
}

// begin starts a round unless one is under way or has started recently. It returns nil if there is no round to wait
// for.
func (c *Collector) begin() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round != nil || (!c.last.IsZero() && c.config.Now().Sub(c.last) < minInterval) {
		return c.round
	}
	c.last, c.round = c.config.Now(), make(chan struct{})
	go c.readAll(c.config.Targets(), c.round)
	return c.round
}

// readAll reads the exporters of all Pods. Pods whose last request failed come last, so that they do not delay the
// others.
func (c *Collector) readAll(targets []Target, done chan struct{}) {
	c.removeOthers(targets)
	c.mu.Lock()
	slices.SortStableFunc(targets, func(a, b Target) int {
		switch {
		case c.failed[a.UID] == c.failed[b.UID]:
			return 0
		case c.failed[a.UID]:
			return 1
		}
		return -1
	})
	c.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(c.config.Concurrency)
	for _, target := range targets {
		group.Go(func() error {
			c.read(target)
			return nil
		})
	}
	_ = group.Wait() // The functions return no errors.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round = nil
	close(done)
}

// read reads the exporter of one Pod.
func (c *Collector) read(target Target) {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Timeout)
	defer cancel()
	found, err := scrape(ctx, c.config.Client, target)
	c.metrics.count(err)
	if err != nil {
		c.config.Logger.Debug("cannot read the usage of a pod",
			logging.Pod(target.Namespace, target.Name, ""), "address", target.Address, "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed[target.UID] = true
		return
	}
	delete(c.failed, target.UID)
	sample := &Sample{Target: target, At: c.config.Now(), Containers: found}
	previous := c.samples[target.UID]
	sample.Rates = sample.ratesSince(previous)
	for _, rate := range sample.Rates {
		c.cpu += rate * sample.At.Sub(previous.At).Seconds()
	}
	c.samples[target.UID] = sample
}

// removeOthers removes the state of Pods that no longer exist.
func (c *Collector) removeOthers(targets []Target) {
	present := map[string]bool{}
	for _, target := range targets {
		present[target.UID] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for uid := range c.samples {
		if !present[uid] {
			delete(c.samples, uid)
		}
	}
	for uid := range c.failed {
		if !present[uid] {
			delete(c.failed, uid)
		}
	}
}
