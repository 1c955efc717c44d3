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

	"golang.org/x/sync/errgroup"
)

const (
	// fresh is how long what was asked for serves all who want to know: metrics-server asks each 15 s.
	fresh = 10 * time.Second
	// keep is how old a figure may become that is told.
	keep = time.Minute
	// longestWait is how long a caller waits for a round of questions; it then gets what is there. metrics-server gives up after 10 s.
	longestWait = 7 * time.Second
)

// Config is what a Collector needs. All fields must be given unless their comment says otherwise.
type Config struct {
	// NodeName is the Node's.
	NodeName string
	// Targets are the Pods to ask, now. It must not block.
	Targets func() []Target
	// Concurrency is how many are asked at once, Timeout how long each may take.
	Concurrency int
	Timeout     time.Duration
	// Client asks; it should not keep connections to Pods that come and go.
	Client *http.Client
	// Now is the clock.
	Now func() time.Time
	// Asked is told of every question, whether it was answered; nil for nobody.
	Asked  func(answered bool)
	Logger *slog.Logger
}

// Collector keeps the newest samples. Its methods may be called from many goroutines at once.
type Collector struct {
	config  Config
	started time.Time

	mu sync.Mutex
	// samples are by UID. One is replaced, never changed.
	samples map[string]*Sample
	// failed are the UIDs of Pods whose last question was not answered.
	failed map[string]bool
	// cpu is what all Pods have used while they were looked at, in core-seconds. It never falls, as the sum of those that are there would.
	cpu float64
	// round is closed when the present round ends; nil while there is none. last is when the last one began.
	round chan struct{}
	last  time.Time
}

// New checks the configuration and asks nobody yet.
func New(config Config) (*Collector, error) {
	if config.Targets == nil || config.Client == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("making the collector of usage: targets, client, clock and logger must be given")
	}
	if config.Concurrency <= 0 || config.Timeout <= 0 {
		return nil, fmt.Errorf("making the collector of usage: concurrency %d and time-out %s must be above zero", config.Concurrency, config.Timeout)
	}
	if config.Asked == nil {
		config.Asked = func(bool) {}
	}
	return &Collector{config: config, started: config.Now(), samples: map[string]*Sample{}, failed: map[string]bool{}}, nil
}

// Samples returns the newest samples that are no older than a minute, in the order of their names, and what the node has used in all. It blocks
// for some seconds at most while Pods are asked, and asks none twice in 10 s.
func (c *Collector) Samples(ctx context.Context) ([]*Sample, float64) {
	timer := time.NewTimer(longestWait)
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
		if c.config.Now().Sub(sample.At) <= keep {
			all = append(all, sample)
		}
	}
	slices.SortFunc(all, func(a, b *Sample) int {
		return strings.Compare(a.Target.Namespace+"/"+a.Target.Name, b.Target.Namespace+"/"+b.Target.Name)
	})
	return all, c.cpu
}

// begin begins a round unless one is under way, or was a moment ago; nil where there is nothing to wait for.
func (c *Collector) begin() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round != nil || (!c.last.IsZero() && c.config.Now().Sub(c.last) < fresh) {
		return c.round
	}
	c.last, c.round = c.config.Now(), make(chan struct{})
	go c.ask(c.config.Targets(), c.round)
	return c.round
}

// ask asks all Pods, those last that did not answer the last time.
func (c *Collector) ask(targets []Target, done chan struct{}) {
	c.forgetOthers(targets)
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
			c.askOne(target)
			return nil
		})
	}
	_ = group.Wait() // Faults are each Pod's own.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round = nil
	close(done)
}

func (c *Collector) askOne(target Target) {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Timeout)
	defer cancel()
	found, err := scrape(ctx, c.config.Client, target)
	c.config.Asked(err == nil)
	if err != nil {
		c.config.Logger.Debug("the use of a pod is not known", "pod", target.Namespace+"/"+target.Name, "exporter", target.Address, "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed[target.UID] = true
		return
	}
	delete(c.failed, target.UID)
	sample := &Sample{Target: target, At: c.config.Now(), Containers: found}
	before := c.samples[target.UID]
	sample.Rates = sample.since(before)
	for _, rate := range sample.Rates {
		c.cpu += rate * sample.At.Sub(before.At).Seconds()
	}
	c.samples[target.UID] = sample
}

// forgetOthers drops what is known of Pods that are no more.
func (c *Collector) forgetOthers(targets []Target) {
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
