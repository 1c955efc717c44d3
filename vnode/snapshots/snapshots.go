// Package snapshots keeps image snapshots in the cloud for the images that Pods of a virtual node use again and again,
// so that the next Pods start without pulling them. A snapshot costs a Pod while it is made. So there are few of them,
// they are made one after the other, and only for images that at least two Pods have run. A snapshot that no Pod has
// used for a while is removed, and the cloud itself removes each after some days, whatever becomes of this program.
//
// Snapshots belong to the account, not to a namespace: images that need credentials of a Pod are left out
// (translate.Translator.SnapshotImages). This package changes only snapshots of its own virtual node, and makes none of
// an image of which anyone has made one.
package snapshots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

const (
	// minPods is the number of Pods that must have run an image: one alone may be the last.
	minPods = 2
	// sizeGiB is the size of a snapshot: that of the disk which every Pod has.
	sizeGiB = 30
	// timeout is when the service gives up. Its Pod costs until then.
	timeout = 2 * cci.MinSnapshotTimeout
	// failurePause is the time after which an image is tried again whose snapshot could not be made.
	failurePause = 24 * time.Hour
	// refusalPause is the time after which a region without snapshots, and a cloud that takes no more of them, is asked
	// again.
	refusalPause = time.Hour
	// pageSize is the number of snapshots in one page of a list.
	pageSize = 200
)

// CloudAPI is the part of cci.API that a Keeper uses.
type CloudAPI interface {
	CreateSnapshot(ctx context.Context, snapshot *cci.ImageSnapshot) (*cci.ImageSnapshot, error)
	ListSnapshots(ctx context.Context, options cci.ListOptions) ([]cci.ImageSnapshot, error)
	DeleteSnapshot(ctx context.Context, name string, options cci.DeleteOptions) error
}

// Config configures a Keeper. All fields but PullSecret and Registerer are required.
type Config struct {
	API   CloudAPI
	Owner identity.Owner
	// Namespace is the cloud namespace in which the Pods run that make snapshots.
	Namespace string
	// PullSecret is the Secret of the cloud namespace with which every Pod pulls images.
	PullSecret string
	// Pods holds the Pods of the node. Images returns those of a Pod of which a snapshot may be made.
	Pods   cache.SharedIndexInformer
	Images func(*corev1.Pod) []string
	// Keep is the number of snapshots at most. Namespaces share them: those of images that one namespace alone uses are
	// half of them at most.
	Keep int
	// Interval is the time between two checks. Each makes one snapshot at most.
	Interval time.Duration
	// Removal is the time after which a snapshot is removed that no Pod has used.
	Removal time.Duration
	// Renewal is the time after which the cloud removes a snapshot, in whole days.
	Renewal time.Duration
	// Now is the clock.
	Now func() time.Time
	// Registerer registers the metrics; nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Keeper keeps the snapshots of one virtual node.
type Keeper struct {
	config  Config
	metrics metrics
	uses    *uses
	// The fields below are used by check only.

	// seen is when each snapshot of the node was first seen: use before that is not known after a restart.
	seen map[types.UID]time.Time
	// failed is when the snapshot of an image could not be made.
	failed map[string]time.Time
	// next is when the cloud is asked again, after it has refused.
	next time.Time
	// lastError is the last logged error, refusal the last logged refusal. What repeats is logged once.
	lastError, refusal string
}

// New checks the configuration and returns a Keeper. It must be called before the informer runs. It starts nothing.
func New(config Config) (*Keeper, error) {
	if config.API == nil || config.Owner.Node == "" || config.Namespace == "" || config.Pods == nil ||
		config.Images == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the keeper of image snapshots: a required field is missing")
	}
	if config.Keep < 1 || config.Interval <= 0 || config.Removal <= 0 || config.Renewal <= 0 {
		return nil, fmt.Errorf(
			"creating the keeper of image snapshots: number %d, interval %s, removal %s and renewal %s must be above zero",
			config.Keep, config.Interval, config.Removal, config.Renewal)
	}
	k := &Keeper{
		config: config, metrics: newMetrics(config.Registerer), uses: newUses(), seen: map[types.UID]time.Time{},
		failed: map[string]time.Time{},
	}
	note := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok {
			k.note(pod)
		}
	}
	// A Pod may come and go between two checks.
	_, err := config.Pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: note, UpdateFunc: func(_, obj any) { note(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching the Pods for their images: %w", err)
	}
	return k, nil
}

// note notes which images a Pod uses now.
func (k *Keeper) note(pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	for _, image := range k.config.Images(pod) {
		k.uses.note(image, pod, k.config.Now())
	}
}

// Run checks periodically until ctx ends, for the first time after an interval: restarts do not make more snapshots.
// It blocks and returns nil. It retries errors at the next interval.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(wait.Jitter(k.config.Interval, 0.1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := k.check(ctx); err != nil && ctx.Err() == nil {
			k.logError(err)
		} else {
			k.lastError = ""
		}
	}
}

func (k *Keeper) logError(err error) {
	if err.Error() != k.lastError {
		k.lastError = err.Error()
		k.config.Logger.Warn("keeping image snapshots failed and will be retried", "err", err)
	}
}

// check removes the snapshots that are no longer used or could not be made, and makes one if an image needs it.
func (k *Keeper) check(ctx context.Context) error {
	now := k.config.Now()
	if now.Before(k.next) {
		return nil
	}
	pods, err := corelisters.NewPodLister(k.config.Pods.GetIndexer()).List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing the Pods of the node: %w", err)
	}
	for _, pod := range pods {
		k.note(pod)
	}
	all, err := k.config.API.ListSnapshots(ctx, cci.ListOptions{Limit: pageSize})
	if cci.IsNotOffered(err) {
		k.refuse("the region offers no image snapshots: Pods pull their images", err)
		return nil
	}
	if err != nil {
		return err
	}
	state := k.survey(all)
	err = k.remove(ctx, &state)
	k.metrics.set(state)
	return errors.Join(err, k.make(ctx, state))
}

// refuse stops asking the cloud for a while.
func (k *Keeper) refuse(message string, err error) {
	if text := message + err.Error(); text != k.refusal {
		k.refusal = text
		k.config.Logger.Warn("no image snapshots are made for a while",
			"cause", message, "err", err, "retryAfter", refusalPause)
	}
	k.next = k.config.Now().Add(refusalPause)
}

// survey is what a list of all snapshots shows.
type survey struct {
	// covered are the images of which the account has a snapshot.
	covered map[string]bool
	// mine are the snapshots of this node, by their only image.
	mine map[string]*cci.ImageSnapshot
}

// survey sorts the snapshots of the account.
func (k *Keeper) survey(all []cci.ImageSnapshot) survey {
	now, seen := k.config.Now(), map[types.UID]time.Time{}
	state := survey{covered: map[string]bool{}, mine: map[string]*cci.ImageSnapshot{}}
	for i := range all {
		snapshot := &all[i]
		if snapshot.DeletionTimestamp == nil && (snapshot.IsMade() || snapshot.IsAvailable()) {
			for _, image := range snapshot.Spec.Images {
				state.covered[image.Image] = true
			}
		}
		if owner, ok := identity.OfSnapshot(snapshot); ok && owner == k.config.Owner {
			state.mine[snapshot.Spec.Images[0].Image] = snapshot
			seen[snapshot.UID] = now
			if before, known := k.seen[snapshot.UID]; known {
				seen[snapshot.UID] = before
			}
		}
	}
	k.seen = seen
	k.uses.forget(now.Add(-k.config.Removal), state.mine)
	for image, at := range k.failed {
		if now.Sub(at) >= failurePause {
			delete(k.failed, image)
		}
	}
	return state
}

// remove deletes the snapshots of this node that are of no use.
func (k *Keeper) remove(ctx context.Context, state *survey) error {
	var errs []error
	now := k.config.Now()
	for image, snapshot := range state.mine {
		if snapshot.DeletionTimestamp != nil {
			continue
		}
		message := ""
		switch used := k.uses.last(image); {
		case !snapshot.IsMade() && !snapshot.IsAvailable(),
			snapshot.IsMade() && now.Sub(k.seen[snapshot.UID]) > 2*timeout:
			k.failed[image] = now
			k.metrics.failed.Inc()
			message = fmt.Sprintf("it could not be made: %s %s %s", snapshot.Status.Phase, snapshot.Status.Reason,
				snapshot.Status.Message)
			k.config.Logger.Warn("an image snapshot could not be made", "image", image,
				"phase", snapshot.Status.Phase, "code", snapshot.Status.Reason, "message", snapshot.Status.Message,
				"retryAfter", failurePause)
		case now.Sub(used) >= k.config.Removal && now.Sub(k.seen[snapshot.UID]) >= k.config.Removal:
			message = fmt.Sprintf("no Pod has used it for %s", k.config.Removal)
		default:
			continue
		}
		err := k.config.API.DeleteSnapshot(ctx, snapshot.Name, cci.DeleteOptions{UID: snapshot.UID})
		if err != nil && !cci.IsNotFound(err) && !cci.IsConflict(err) {
			errs = append(errs, err)
			continue
		}
		delete(state.mine, image)
		k.config.Logger.Info("removed an image snapshot", "snapshot", snapshot.Name,
			"image", image, "cause", message)
	}
	return errors.Join(errs...)
}

// make makes the snapshot of the image that has been used for the longest time without one. It makes none while one is
// being made.
func (k *Keeper) make(ctx context.Context, state survey) error {
	if len(state.mine) >= k.config.Keep {
		return nil
	}
	for _, snapshot := range state.mine {
		if snapshot.IsMade() {
			return nil
		}
	}
	// One tenant must not take all: the images that one namespace alone uses are half of them at most.
	share, taken := max(k.config.Keep/2, 1), k.uses.onlyOf(state.mine)
	image := k.uses.longest(func(image string, u *use) bool {
		_, failed := k.failed[image]
		only, alone := u.only()
		return !failed && !state.covered[image] && state.mine[image] == nil && len(u.pods) >= minPods &&
			!(alone && taken[only] >= share)
	})
	if image == "" {
		return nil
	}
	server := registry(image)
	snapshot := &cci.ImageSnapshot{ObjectMeta: k.config.Owner.SnapshotMeta(image), Spec: cci.ImageSnapshotSpec{
		BuildingConfig: cci.SnapshotBuilding{
			Namespace: k.config.Namespace, TimeoutMinutes: int32(timeout / time.Minute),
		},
		SizeGiB: sizeGiB, TTLDays: int32(math.Ceil(k.config.Renewal.Hours() / 24)),
		Images:     []cci.SnapshotImage{{Image: image}},
		Registries: []cci.SnapshotRegistry{{Server: server, PullSecret: k.pullSecret(server)}},
	}}
	_, err := k.config.API.CreateSnapshot(ctx, snapshot)
	switch {
	case cci.IsTaken(err): // Another virtual node of the cluster has made it meanwhile.
		return nil
	case cci.IsRefused(err):
		k.failed[image] = k.config.Now()
		k.metrics.failed.Inc()
		k.refuse("the cloud refuses an image snapshot", err)
		return nil
	case err != nil:
		return err
	}
	k.metrics.created.Inc()
	k.config.Logger.Info("making an image snapshot",
		"snapshot", snapshot.Name, "image", image)
	return nil
}

// serviceRegistries ends the hosts of the vendor's registry, to which the Secret that the service creates belongs.
const serviceRegistries, serviceSecret = ".myhuaweicloud.com", "imagepull-secret"

// pullSecret returns the Secret for a registry. That of the service belongs to the vendor's registry only.
func (k *Keeper) pullSecret(server string) string {
	if k.config.PullSecret == serviceSecret && !strings.HasSuffix(server, serviceRegistries) {
		return ""
	}
	return k.config.PullSecret
}

// registry returns the host of an image. One without a host is that of Docker Hub.
func registry(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return host
	}
	return "docker.io"
}
