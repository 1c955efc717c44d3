package podlife

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
	"github.com/spillway-k8s/spillway/test/ccisim/vpc"
)

const (
	// idle is how long Run sleeps when nothing is due. It is interrupted when that changes.
	idle = time.Hour
	// batch is how many objects are reconciled in one transaction, so that requests are served in between.
	batch = 64
)

// Config is what a Controller needs. The durations and switches are those of ccisim.Config.
type Config struct {
	Store  *store.Store
	Faults *faults.Table
	Clock  clock.WithTicker
	Logger *slog.Logger

	Region string
	// Range has the addresses of Pods whose subnet has no range.
	Range netip.Prefix
	// Subnets are the account's subnets. Networks in others fail. Empty means that all exist.
	Subnets []Subnet

	NetworkDelay      time.Duration
	ScheduleDelay     time.Duration
	StartDelay        time.Duration
	InitRunTime       time.Duration
	RunTime           time.Duration
	StopDelay         time.Duration
	FinalizerDelay    time.Duration
	SnapshotDelay     time.Duration
	RestartBackoff    time.Duration
	MaxRestartBackoff time.Duration

	Processes bool
	// VPC gives each Pod whose containers are processes a network, and them file systems of their own. Default nil: they
	// have those of this machine.
	VPC *vpc.VPC
	// Images are programs of this machine by the names of their images. They need a VPC.
	Images    map[string]string
	Exporters bool
}

// Subnet is a subnet of the account.
type Subnet struct {
	// NeutronID is the ID that networks name.
	NeutronID string
	// Range is invalid for a subnet without a range of its own.
	Range netip.Prefix
}

// Controller reconciles the objects of one generation. Its methods may be called from any goroutine.
type Controller struct {
	cfg   Config
	store *store.Store

	// The fields of this group are used inside View and Update of the store only.
	due       *queue
	addresses pools
	logs      map[types.UID]podLogs
	processes map[containerKey]*process
	exporters map[types.UID]*http.Server
	networks  map[types.UID]*os.File
	// waiting are the Pods that wait for something outside of them: a node, an address, a ConfigMap.
	waiting map[types.NamespacedName]bool
	// eventOrder are the keys of the Events, oldest first.
	eventOrder []types.NamespacedName

	// processDir holds the directories of Pods that are processes. It is empty if Config.Processes is off.
	processDir string
	spawnOnce  sync.Once
	spawning   chan func()

	// interrupt ends the sleep of Run, because something is due earlier than before.
	interrupt chan struct{}
	// stopped is closed when Run ends.
	stopped  chan struct{}
	stopOnce sync.Once
}

// New returns a controller of the objects in the store. It starts nothing: time passes in Run.
func New(cfg Config) *Controller {
	c := &Controller{
		cfg:       cfg,
		store:     cfg.Store,
		due:       newQueue(),
		addresses: newPools(cfg.Range, cfg.Subnets),
		logs:      map[types.UID]podLogs{},
		processes: map[containerKey]*process{},
		exporters: map[types.UID]*http.Server{},
		networks:  map[types.UID]*os.File{},
		waiting:   map[types.NamespacedName]bool{},
		interrupt: make(chan struct{}, 1),
		stopped:   make(chan struct{}),
		spawning:  make(chan func()),
	}
	if cfg.Processes {
		c.processDir = filepath.Join(os.TempDir(), "ccisim-"+string(uuid.NewUUID()))
	}
	c.store.Update(c.resume)
	return c
}

// resume continues with the objects that the state file had: their addresses are taken, the logs of their containers
// start again, and all are reconciled.
func (c *Controller) resume(tx store.Tx) {
	for _, res := range objects.All {
		for obj := range tx.All(res) {
			c.Enqueue(tx, res, objects.KeyOf(obj))
			if pod, ok := obj.(*objects.Pod); ok {
				c.addresses.reserve(pod.Status.PodIP)
				c.resumeLogs(tx, pod)
			}
		}
	}
	events := tx.Sorted(objects.Events, "")
	sort.SliceStable(events, func(i, j int) bool {
		a, b := events[i].Object.GetCreationTimestamp(), events[j].Object.GetCreationTimestamp()
		return a.Time.Before(b.Time)
	})
	for _, e := range events {
		c.eventOrder = append(c.eventOrder, objects.KeyOf(e.Object))
	}
}

// Run reconciles objects until ctx ends: Pods start, end and disappear only while it runs. It then ends all processes,
// networks of Pods and exporters, closes Stopped, and returns. It may be called once.
func (c *Controller) Run(ctx context.Context) {
	defer c.stopOnce.Do(func() {
		c.endProcesses()
		c.closeNetworks()
		c.stopExporters()
		if c.processDir != "" {
			if err := os.RemoveAll(c.processDir); err != nil {
				c.cfg.Logger.Error("Removing the directory of processes failed", "error", err)
			}
		}
		close(c.stopped)
	})
	for {
		timer := c.cfg.Clock.NewTimer(c.ReconcileDue())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.interrupt:
			timer.Stop()
		case <-timer.C():
		}
	}
}

// Stopped is closed when Run has ended. Streams end then.
func (c *Controller) Stopped() <-chan struct{} { return c.stopped }

// ReconcileDue reconciles everything that is due, and returns the time until something else is due.
func (c *Controller) ReconcileDue() time.Duration {
	for {
		more, next := true, time.Time{}
		c.store.Update(func(tx store.Tx) {
			for i := 0; i < batch && more; i++ {
				var due target
				if due, more = c.due.pop(c.now()); more {
					c.reconcile(tx, due)
				}
			}
			next = c.due.next()
		})
		switch {
		case more:
		case next.IsZero():
			return idle
		default:
			return max(next.Sub(c.now()), 0)
		}
	}
}

func (c *Controller) now() time.Time { return c.cfg.Clock.Now() }

// result is what becomes of a reconciled object.
type result struct {
	// next replaces the object if it is set.
	next objects.Object
	// gone removes the object, with next as its last state if that is set.
	gone bool
	// at is when to reconcile again. Zero waits until the object is enqueued.
	at time.Time
}

func (c *Controller) reconcile(tx store.Tx, t target) {
	obj := tx.Get(t.res, t.key)
	if obj == nil {
		return
	}
	var r result
	switch obj := obj.(type) {
	case *objects.Namespace:
		r = c.reconcileNamespace(tx, obj)
	case *objects.Network:
		r = c.reconcileNetwork(tx, obj)
	case *objects.Network1:
		r = c.reconcileNetwork1(tx, obj)
	case *objects.Pod:
		r = c.reconcilePod(tx, obj)
	case *objects.PersistentVolumeClaim:
		r = c.reconcileClaim(tx, obj)
	case *objects.ImageSnapshot:
		r = c.reconcileSnapshot(tx, obj)
	default:
		return
	}
	switch {
	case r.gone:
		if r.next == nil {
			r.next = obj.CopyObject()
		}
		c.remove(tx, t.res, r.next)
		return
	case r.next != nil:
		c.put(tx, t.res, r.next)
	}
	c.due.set(t, r.at)
}

// put stores an object that the controller made.
func (c *Controller) put(tx store.Tx, res *objects.Resource, obj objects.Object) {
	if _, err := tx.Put(res, obj); err != nil {
		c.cfg.Logger.Error("Storing an object failed",
			"resource", res.Plural, "namespace", obj.GetNamespace(), "name", obj.GetName(), "error", err)
	}
}

// remove removes an object, frees what it used, and enqueues what waits for its removal.
func (c *Controller) remove(tx store.Tx, res *objects.Resource, obj objects.Object) {
	if err := tx.Remove(res, obj); err != nil {
		c.cfg.Logger.Error("Removing an object failed",
			"resource", res.Plural, "namespace", obj.GetNamespace(), "name", obj.GetName(), "error", err)
	}
	c.due.set(target{res, objects.KeyOf(obj)}, time.Time{})
	if pod, ok := obj.(*objects.Pod); ok {
		c.releasePod(tx, pod)
	}
	// A namespace or a network may wait until the last object of the resource is removed.
	if res.Namespaced && tx.Count(res, obj.GetNamespace()) == 0 {
		c.Enqueue(tx, objects.Namespaces, types.NamespacedName{Name: obj.GetNamespace()})
		if res == objects.Pods {
			c.enqueueNetworks(tx, obj.GetNamespace())
		}
	}
}

// Enqueue reconciles an object as soon as possible.
func (c *Controller) Enqueue(tx store.Tx, res *objects.Resource, k types.NamespacedName) {
	if !res.Reconciled || tx.Get(res, k) == nil {
		return
	}
	if c.due.set(target{res, k}, c.now()) {
		select {
		case c.interrupt <- struct{}{}:
		default:
		}
	}
}

// EnqueueFaulty reconciles everything that a fault may affect, as soon as possible.
func (c *Controller) EnqueueFaulty(tx store.Tx) {
	for _, res := range []*objects.Resource{objects.Networks, objects.Pods} {
		for obj := range tx.All(res) {
			c.Enqueue(tx, res, objects.KeyOf(obj))
		}
	}
}

// enqueueWaiting enqueues all Pods that wait for something outside of them.
func (c *Controller) enqueueWaiting(tx store.Tx) {
	for k := range c.waiting {
		c.Enqueue(tx, objects.Pods, k)
	}
}

// enqueueNetworks enqueues the networks of a namespace, or all networks if it is empty.
func (c *Controller) enqueueNetworks(tx store.Tx, namespace string) {
	for obj := range tx.All(objects.Networks) {
		if namespace == "" || obj.GetNamespace() == namespace {
			c.Enqueue(tx, objects.Networks, objects.KeyOf(obj))
		}
	}
}

// Stored must be called after a client has created or updated an object. It enqueues the object, and the Pods that may
// wait for it.
func (c *Controller) Stored(tx store.Tx, res *objects.Resource, obj objects.Object) {
	c.Enqueue(tx, res, objects.KeyOf(obj))
	if res == objects.ConfigMaps || res == objects.Secrets {
		c.enqueueWaiting(tx)
		c.rewriteVolumes(tx, obj.GetNamespace())
	}
}

// Created must be called after a client has created an object, before Stored. It creates what the service adds, and
// enqueues the claims that wait for a volume.
func (c *Controller) Created(tx store.Tx, obj objects.Object) {
	switch obj := obj.(type) {
	case *objects.Namespace:
		c.createPullSecret(tx, obj.Name)
	case *objects.PersistentVolume:
		c.enqueueClaimsOf(tx, obj.Name)
	}
}

// Delete starts the deletion of an object, and returns what is stored meanwhile. It returns nil for an object that is
// removed at once.
func (c *Controller) Delete(
	tx store.Tx, res *objects.Resource, obj objects.Object, options *metav1.DeleteOptions,
) (*store.Entry, error) {
	next := c.terminating(obj, options)
	if next == nil {
		c.remove(tx, res, obj.CopyObject())
		return nil, nil
	}
	e, err := tx.Put(res, next)
	if err != nil {
		return nil, err
	}
	c.Enqueue(tx, res, objects.KeyOf(next))
	return e, nil
}

// terminating returns the object as it is stored while its deletion takes time, or nil if the deletion takes none.
func (c *Controller) terminating(obj objects.Object, options *metav1.DeleteOptions) objects.Object {
	next := obj.CopyObject()
	switch next := next.(type) {
	case *objects.Pod:
		c.terminatePod(next, options)
		return next
	case *objects.Namespace, *objects.Network, *objects.Network1, *objects.PersistentVolumeClaim:
	case *objects.ImageSnapshot:
		next.Finalizers, next.DeletionGracePeriodSeconds = []string{objects.SnapshotFinalizer}, new(int64)
	default:
		return nil
	}
	if next.GetDeletionTimestamp() != nil {
		return next
	}
	now := metav1.NewTime(c.now())
	next.SetDeletionTimestamp(&now)
	switch next := next.(type) {
	case *objects.Namespace:
		next.Status.Phase = namespaceTerminating
	case *objects.Network1:
		next.Status.State = networkTerminating
	}
	return next
}
