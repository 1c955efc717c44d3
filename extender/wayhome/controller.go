package wayhome

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// idleInterval is how often the Index is asked whether a Pod may return. That costs no request.
	idleInterval = 5 * time.Second
	// followInterval is how often moves that have begun are followed.
	followInterval = time.Second
	// idleTime is how long the caches are kept while no Pod may return.
	idleTime = 2 * time.Minute
	// The time between two searches for Pods that can move is an eighth of StableFor within these.
	minSearchInterval = 500 * time.Millisecond
	maxSearchInterval = 15 * time.Second
	// startPauses is how many pauses a new leader waits before its first move.
	startPauses = 10
	// maxExamined is how many controllers of Pods one search examines. It goes on with the others.
	maxExamined = 100
	// maxRead is how many workloads one search reads from the API server.
	maxRead = 5
)

// Deps is what a Controller works with. No field is optional.
type Deps struct {
	Client kubernetes.Interface
	Index  *Index
	// Placement says where the successor of a Pod would be placed.
	Placement interface {
		Home(successor *corev1.Pod, node string) (placement.Home, error)
	}
	// Nodes classifies nodes.
	Nodes interface {
		IsLocal(node string) bool
		IsVirtual(node string) bool
	}
	// Facts knows namespaces, the switch WAY_HOME, and volumes.
	Facts interface {
		Namespace(name string) (map[string]string, error)
		WayHome() bool
		Claim(namespace, name string) *corev1.PersistentVolumeClaim
		Volume(name string) *corev1.PersistentVolume
	}
	// Leadership says whether this process may move Pods.
	Leadership interface {
		Ready() error
		CurrentTerm(ctx context.Context) (leadership.Term, error)
		VerifyTerm(ctx context.Context, term leadership.Term) error
	}
	Recorder record.EventRecorder
	// Now is the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Controller moves Pods. Create one with New.
type Controller struct {
	Deps
	config  Config
	hours   hours
	metrics *metrics

	// What follows is of the current term only, and used by Run only.
	term    leadership.Term
	began   time.Time
	history *history
	// replacing are the moves that have evicted their Pod first, by the UID of its controller.
	replacing map[types.UID]replacement
	// refused is since when the eviction of a Pod is refused, by its UID.
	refused map[types.UID]time.Time
	// evicted are the Pods of moves that were evicted, until the caches have seen it.
	evicted map[types.UID]bool
	// told is the last reason why a Pod that drain-back asked for stays, by its UID.
	told map[types.UID]stay
	// searched is when Pods were searched last, and next is the controller after which the search goes on.
	searched time.Time
	next     types.UID
}

// New returns a Controller and registers its metrics. It starts nothing.
func New(config Config, deps Deps, registerer prometheus.Registerer) (*Controller, error) {
	h, err := newHours(config)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	return &Controller{Deps: deps, config: config, hours: h, metrics: m}, nil
}

// Run moves Pods until ctx ends. It blocks.
func (c *Controller) Run(ctx context.Context) error {
	if !c.config.Enabled {
		<-ctx.Done()
		return nil
	}
	for sleep(ctx, idleInterval) {
		if c.Leadership.Ready() != nil || !c.needed() {
			continue
		}
		if _, err := c.Leadership.CurrentTerm(ctx); err != nil {
			continue
		}
		c.session(ctx)
		c.metrics.show(nil, 0)
	}
	return nil
}

// sleep waits. It returns false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// needed reports whether any Pod may return, or is on its way.
func (c *Controller) needed() bool {
	now := c.Now()
	return c.Index.any(func(r entry) bool { return r.moving || c.returns(r, now) })
}

// returns reports whether a Pod is in the cloud and asks to return.
func (c *Controller) returns(r entry, now time.Time) bool {
	if r.moving || !c.Nodes.IsVirtual(r.node) {
		return false
	}
	if drains(r.asked, now) {
		return true
	}
	own := map[string]string{}
	if r.wayHome != "" {
		own[policy.WayHomeAnnotation] = r.wayHome
	}
	namespace, err := c.Facts.Namespace(r.Namespace)
	if err != nil {
		return false
	}
	returns, ok, err := policy.ParseWayHome(policy.Inherit(own, nil, namespace))
	switch {
	case err != nil:
		return false
	case !ok:
		return c.config.Default
	}
	return returns
}

// session keeps caches and moves Pods as long as this process leads and any Pod may return.
func (c *Controller) session(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	caches, err := newCaches(c.Client)
	if err != nil {
		stop()
		c.failed(err)
		return
	}
	ended := caches.run(ctx)
	defer func() {
		stop()
		<-ended
	}()
	if !caches.synced(ctx) {
		return
	}
	used := c.Now()
	for sleep(ctx, followInterval) {
		term, err := c.Leadership.CurrentTerm(ctx)
		if err != nil {
			return
		}
		c.enter(term)
		if c.needed() || len(c.replacing) > 0 {
			used = c.Now()
		} else if c.Now().Sub(used) > idleTime {
			return
		}
		c.round(ctx, caches)
	}
}

// enter forgets what belongs to another term. What has happened in it is not known.
func (c *Controller) enter(term leadership.Term) {
	if c.history != nil && c.term == term {
		return
	}
	c.term, c.began = term, c.Now()
	c.history = newHistory(c.config)
	c.replacing, c.refused = map[types.UID]replacement{}, map[types.UID]time.Time{}
	c.evicted, c.told = map[types.UID]bool{}, map[types.UID]stay{}
}

// round follows the moves that have begun, and begins others.
func (c *Controller) round(ctx context.Context, caches *caches) {
	moving := c.followSurges(ctx, caches)
	c.followReplacements(caches)
	interval := min(max(c.config.StableFor.Duration/8, minSearchInterval), maxSearchInterval)
	if now := c.Now(); now.Sub(c.searched) >= interval {
		c.searched = now
		c.search(ctx, caches, moving)
	}
}

// failed counts and logs an error. The request is made again.
func (c *Controller) failed(err error) {
	c.metrics.failures.Inc()
	c.Logger.Warn("a request for the way home failed, will retry", "err", err)
}

// tell records an Event about a Pod and its workload.
func (c *Controller) tell(
	pod *corev1.Pod, workload *corev1.ObjectReference, kind string, reason policy.Reason, text string,
) {
	c.Recorder.Event(pod, kind, string(reason), text)
	if workload != nil {
		c.Recorder.Event(workload, kind, string(reason), fmt.Sprintf("Pod %s: %s", pod.Name, text))
	}
	c.Logger.Info("the way home of a pod",
		logging.Pod(pod.Namespace, pod.Name, pod.UID), "reason", reason, "cause", text)
}
