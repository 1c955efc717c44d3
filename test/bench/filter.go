package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unmanagedTitle is the title of the row of unmanaged Pods.
const unmanagedTitle = "unmanaged"

// podKind is a kind of Pod for which filter is called.
type podKind struct {
	title string
	pod   *corev1.Pod
	// answer says whether Spillway must answer with a node.
	answer func(name string) bool
}

// answerRow contains the response times for a kind of Pod and a number of names.
type answerRow struct {
	podKind
	names      int
	noOp, ours []time.Duration
}

// answerResults contains all response times.
type answerResults struct {
	rows []*answerRow
	// The numbers of calls and of the TCP connections that they used.
	noOpCalls, noOpConnections, oursCalls, oursConnections int64
}

// callers are the two extenders that are called in turn.
type callers struct{ noOp, ours *caller }

// measureFilter calls both extenders directly, without a scheduler.
func measureFilter(ctx context.Context, c *cluster, o options, out io.Writer) (answers answerResults,
	writes writeResult, err error) {
	if err := c.createNodes(ctx, slices.Max(o.Names), o.VirtualNodes); err != nil {
		return answers, writes, err
	}
	ours, err := c.startExtender(ctx, oursForAll)
	if err != nil {
		return answers, writes, err
	}
	defer func() { err = errors.Join(err, ours.stop(), c.deletePods(context.WithoutCancel(ctx))) }()
	noOp, err := startNoOp()
	if err != nil {
		return answers, writes, err
	}
	defer func() { err = errors.Join(err, noOp.stop()) }()
	a := callers{newCaller(noOp.url), newCaller(ours.url)}
	if answers, err = measureAnswers(ctx, c, a, o, out); err != nil {
		return answers, writes, fmt.Errorf("answers: %w", err)
	}
	if writes, err = measureWrites(ctx, c, a.ours, o, out); err != nil {
		return answers, writes, fmt.Errorf("slots: %w", err)
	}
	return answers, writes, nil
}

// measureAnswers calls both extenders in turn, for every kind of Pod with every number of names, in rounds.
func measureAnswers(ctx context.Context, c *cluster, a callers, o options, out io.Writer) (answerResults, error) {
	var results answerResults
	podKinds, err := c.podKinds(ctx, a.ours, o)
	if err != nil {
		return results, err
	}
	for _, count := range o.Names {
		for _, q := range podKinds {
			results.rows = append(results.rows, &answerRow{podKind: q, names: count})
		}
	}
	for round := range o.Rounds {
		for _, count := range o.Names {
			rows := slices.DeleteFunc(slices.Clone(results.rows), func(r *answerRow) bool { return r.names != count })
			asks := share(o.Asks, round, o.Rounds)
			if err := a.callInTurn(ctx, rows, o, asks); err != nil {
				return results, err
			}
			fmt.Fprintf(out, "round %d of %d: called with %d names\n", round+1, o.Rounds, count)
		}
	}
	results.noOpCalls, results.noOpConnections = a.noOp.calls.Load(), a.noOp.connections.Load()
	results.oursCalls, results.oursConnections = a.ours.calls.Load(), a.ours.connections.Load()
	return results, nil
}

// callInTurn calls both extenders the given number of times for each of the rows, which have the same number of names.
// A first call is checked and not measured.
func (a callers) callInTurn(ctx context.Context, rows []*answerRow, o options, asks int) error {
	names := o.nodeNames(rows[0].names)
	for _, r := range rows {
		if err := a.check(ctx, r, o, names); err != nil {
			return err
		}
	}
	for i := range asks {
		for _, r := range rows {
			turns := []func() error{
				func() error { return record(ctx, a.noOp, r.pod, names, &r.noOp) },
				func() error { return record(ctx, a.ours, r.pod, names, &r.ours) },
			}
			if i%2 == 1 {
				slices.Reverse(turns)
			}
			for _, turn := range turns {
				if err := turn(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func record(ctx context.Context, a *caller, pod *corev1.Pod, names []string, times *[]time.Duration) error {
	_, took, err := a.filter(ctx, pod, names)
	*times = append(*times, took)
	return err
}

// check calls both extenders once and checks their answers.
func (a callers) check(ctx context.Context, r *answerRow, o options, names []string) error {
	all, _, err := a.noOp.filter(ctx, r.pod, names)
	if err != nil {
		return err
	}
	if !slices.Equal(names, all) {
		return fmt.Errorf("the no-op extender answered with %d names: must be all %d", len(all), len(names))
	}
	left, _, err := a.ours.filter(ctx, r.pod, names)
	if err != nil {
		return err
	}
	want := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !r.answer(name) })
	if !slices.Equal(want, left) {
		return fmt.Errorf("%s: the extender answered with %d names: must be %d of %d", r.title, len(left), len(want),
			len(names))
	}
	return nil
}

// nodeNames returns the names of that many nodes, the virtual nodes last.
func (o options) nodeNames(count int) []string {
	names := make([]string, 0, count)
	for i := range count - o.VirtualNodes {
		names = append(names, localName(i))
	}
	for i := range o.VirtualNodes {
		names = append(names, virtualName(i))
	}
	return names
}

// podKinds creates a Pod of each kind for which the extender answers differently.
func (c *cluster) podKinds(ctx context.Context, ours *caller, o options) ([]podKind, error) {
	holder := quotaPod("used-up", 0, 1)
	holder.Spec.NodeName = localName(0)
	// One after another, so that an extender that answers for the last Pod has observed the others.
	var pods []*corev1.Pod
	for _, pod := range []*corev1.Pod{holder, unmanagedPod("plain", 0), quotaPod("used-up", 1, 1),
		quotaPod("with-slot", 0, 1)} {
		created, err := c.createPods(ctx, []*corev1.Pod{pod})
		if err != nil {
			return nil, err
		}
		pods = append(pods, asScheduled(created[0]))
	}
	if _, _, err := ours.filter(ctx, pods[3], o.nodeNames(o.Names[0])); err != nil {
		return nil, err
	}
	slot, err := c.Client().CoreV1().Pods(namespace).Get(ctx, pods[3].Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the pod with a slot: %w", err)
	}
	every := func(string) bool { return true }
	isLocal := func(name string) bool { return !isVirtual(name) }
	return []podKind{
		{title: unmanagedTitle, pod: pods[1], answer: every},
		{title: "quota used up", pod: pods[2], answer: isVirtual},
		{title: "below the quota, has its slot", pod: asScheduled(slot), answer: isLocal},
	}, nil
}

// asScheduled returns the Pod as the scheduler sends it: without managed fields.
func asScheduled(pod *corev1.Pod) *corev1.Pod {
	pod.ManagedFields = nil
	return pod
}
