package play

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// Stage is a trial system with the proxies.
type Stage struct {
	system   *system.System
	client   kubernetes.Interface
	log      *record.Log
	recorder *record.Recorder
	faults   *Faults
	size     plan.Size
	logger   *slog.Logger
}

// Play plays a round in its own namespace and returns when it is quiet. It fails if the round cannot be played or does
// not become quiet.
func (s *Stage) Play(ctx context.Context, round plan.Round) error {
	namespace := fmt.Sprintf("round-%d", round.Number)
	if err := s.createNamespace(ctx, namespace, round); err != nil {
		return err
	}
	note := record.Round{
		Number: round.Number, Namespace: namespace, Phase: record.Begun, Histories: len(round.Workloads),
		Calm: round.Calm, Limits: round.Limits, Settings: round.Settings,
	}
	s.log.Add(record.Entry{Round: &note})
	if err := s.playUntilQuiet(ctx, namespace, round); err != nil {
		return fmt.Errorf("playing round %d: %w", round.Number, err)
	}
	quiet := note
	quiet.Phase = record.Quiet
	s.log.Add(record.Entry{Round: &quiet})
	if err := s.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting namespace %s: %w", namespace, err)
	}
	cleared := note
	cleared.Phase = record.Cleared
	s.log.Add(record.Entry{Round: &cleared})
	return nil
}

// Renew kills the extender and starts it from the current binary.
func (s *Stage) Renew(ctx context.Context) error {
	lock := s.faults.lock(system.Extender)
	lock.Lock()
	defer lock.Unlock()
	if err := s.system.Kill(system.Extender); err != nil {
		return err
	}
	return s.system.Restart(ctx, system.Extender)
}

// createNamespace returns when Pods can be created in the namespace.
func (s *Stage) createNamespace(ctx context.Context, name string, round plan.Round) error {
	core := s.client.CoreV1()
	annotations := map[string]string{policy.CloudLimitsAnnotation: round.Limits} // Empty means no limits.
	maps.Copy(annotations, round.Settings)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if _, err := core.Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	for {
		_, err := core.ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if err == nil || !apierrors.IsNotFound(err) {
			return err
		}
		if err := pause(ctx, retry); err != nil {
			return err
		}
	}
}

// playUntilQuiet runs the other scheduler until the end, because workloads may create Pods for it at any time.
func (s *Stage) playUntilQuiet(ctx context.Context, namespace string, round plan.Round) error {
	cluster := cluster{system: s.system, client: s.client, log: s.log}
	binding, stop := context.WithCancel(ctx)
	var other sync.WaitGroup
	other.Go(func() { cluster.runOtherScheduler(binding, namespace, s.size.WideNodes) })
	defer other.Wait()
	defer stop()
	if err := s.playAll(ctx, namespace, round, cluster); err != nil {
		return err
	}
	still := stillFor
	if round.Returns() {
		still = max(still, plan.DefaultWayHome().Settles())
	}
	if err := s.awaitQuiet(ctx, namespace, still); err != nil {
		return err
	}
	late := slices.DeleteFunc(slices.Clone(round.Workloads), func(w plan.Workload) bool { return !w.Late })
	if len(late) == 0 {
		return nil
	}
	if err := s.playWorkloads(ctx, namespace, late); err != nil {
		return err
	}
	return s.awaitQuiet(ctx, namespace, still)
}

// playAll plays the workloads of a round that are not late, its cluster events and its faults at the same time.
func (s *Stage) playAll(ctx context.Context, namespace string, round plan.Round, cluster cluster) error {
	group, playing := errgroup.WithContext(ctx)
	early := slices.DeleteFunc(slices.Clone(round.Workloads), func(w plan.Workload) bool { return w.Late })
	group.Go(func() error { return s.playWorkloads(playing, namespace, early) })
	group.Go(func() error { return cluster.play(playing, round.ClusterEvents) })
	for _, series := range round.Faults {
		group.Go(func() error { return s.faults.play(playing, series) })
	}
	return group.Wait()
}

// playWorkloads plays workloads at the same time, each to its last step.
func (s *Stage) playWorkloads(ctx context.Context, namespace string, workloads []plan.Workload) error {
	group, playing := errgroup.WithContext(ctx)
	for _, workload := range workloads {
		p := &player{client: s.client, log: s.log, namespace: namespace, workload: workload}
		group.Go(func() error { return p.play(playing) })
	}
	return group.Wait()
}

const (
	// stillFor is how long nothing must change at least, and quietWithin how long that may take. The scheduler retries
	// a Pod for which it got no answer after at most 10 s.
	stillFor    = 4 * time.Second
	quietWithin = 2 * time.Minute
)

var errNotQuiet = errors.New("the namespace does not become quiet")

// awaitQuiet returns when no Pod has changed for a while and none waits for a retry.
func (s *Stage) awaitQuiet(ctx context.Context, namespace string, still time.Duration) error {
	began := time.Now()
	for time.Since(began) < quietWithin {
		// At the beginning nothing has changed either, so the time since then counts too.
		if min(s.recorder.Still(namespace), time.Since(began)) >= still && s.retried(namespace) == "" {
			return nil
		}
		if err := pause(ctx, retry); err != nil {
			return err
		}
	}
	return fmt.Errorf("waiting for namespace %s: %w: %s still waits for a retry, the last change was %s ago",
		namespace, errNotQuiet, s.retried(namespace), s.recorder.Still(namespace).Round(time.Millisecond))
}

// retried returns the name of a Pod that the scheduler will retry, or that is on its way home, or an empty string.
func (s *Stage) retried(namespace string) string {
	for _, pod := range s.recorder.Pods(namespace) {
		if !pod.Active() {
			continue
		}
		waits := pod.Node == "" && (pod.Reason == corev1.PodReasonSchedulerError || pod.Reason == "" || willBurst(pod))
		if waits || pod.Moving != "" {
			return pod.Name
		}
	}
	return ""
}

// burstWithin is how long after the end of its wait a Pod may still be waiting, if nothing but its wait has kept it.
const burstWithin = stillFor + 2*time.Second

// willBurst reports whether a Pod waits for burst-after, which ends soon or has just ended.
func willBurst(pod *record.Pod) bool {
	wait, ok, err := policy.ParseBurstAfter(pod.Settings)
	if err != nil || !ok || !strings.Contains(pod.Message, policy.RefusalPrefix+string(policy.ReasonBurstAfter)+":") {
		return false
	}
	left := time.Until(pod.Created.Add(wait))
	return left < quietWithin/2 && left > -burstWithin
}
