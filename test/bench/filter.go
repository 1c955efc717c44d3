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

// question is a Pod that filter is asked about.
type question struct {
	title string
	pod   *corev1.Pod
	// virtual is true where Spillway must answer with the virtual nodes, and false where with the local ones.
	virtual bool
}

// answerRow is a question with a number of names, and how long each answer took.
type answerRow struct {
	question
	names      int
	noOp, ours []time.Duration
}

// answerResults are all answers.
type answerResults struct {
	rows []*answerRow
	// So many questions were asked, over so many TCP connections.
	noOpAsked, noOpConnections, oursAsked, oursConnections int64
}

// askers are the two that are asked in turn.
type askers struct{ noOp, ours *asker }

// measureFilter asks both extenders directly, without a scheduler.
func measureFilter(ctx context.Context, c *cluster, o options, out io.Writer) (answers answerResults, writes writeResult, err error) {
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
	a := askers{newAsker(noOp.url), newAsker(ours.url)}
	if answers, err = measureAnswers(ctx, c, a, o, out); err != nil {
		return answers, writes, fmt.Errorf("answers: %w", err)
	}
	if writes, err = measureWrites(ctx, c, a.ours, o, out); err != nil {
		return answers, writes, fmt.Errorf("slots: %w", err)
	}
	return answers, writes, nil
}

// measureAnswers asks every question with every number of names, in rounds, the two extenders in turn.
func measureAnswers(ctx context.Context, c *cluster, a askers, o options, out io.Writer) (answerResults, error) {
	var results answerResults
	questions, err := c.questions(ctx, a.ours, o)
	if err != nil {
		return results, err
	}
	for _, count := range o.Names {
		for _, q := range questions {
			results.rows = append(results.rows, &answerRow{question: q, names: count})
		}
	}
	for round := range o.Rounds {
		for _, count := range o.Names {
			rows := slices.DeleteFunc(slices.Clone(results.rows), func(r *answerRow) bool { return r.names != count })
			asks := share(o.Asks, round, o.Rounds)
			if err := a.askInTurn(ctx, rows, o, asks); err != nil {
				return results, err
			}
			fmt.Fprintf(out, "round %d of %d: asked with %d names\n", round+1, o.Rounds, count)
		}
	}
	results.noOpAsked, results.noOpConnections = a.noOp.asked.Load(), a.noOp.connections.Load()
	results.oursAsked, results.oursConnections = a.ours.asked.Load(), a.ours.connections.Load()
	return results, nil
}

// askInTurn asks each question of the rows, all of which have as many names, the given number of times. What is answered first is
// checked and not timed.
func (a askers) askInTurn(ctx context.Context, rows []*answerRow, o options, asks int) error {
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

func record(ctx context.Context, a *asker, pod *corev1.Pod, names []string, times *[]time.Duration) error {
	_, took, err := a.filter(ctx, pod, names)
	*times = append(*times, took)
	return err
}

// check asks both once and says whether the answers are what they must be.
func (a askers) check(ctx context.Context, r *answerRow, o options, names []string) error {
	all, _, err := a.noOp.filter(ctx, r.pod, names)
	if err != nil {
		return err
	}
	if !slices.Equal(names, all) {
		return fmt.Errorf("the no-op extender answered with %d names, and must echo all %d", len(all), len(names))
	}
	left, _, err := a.ours.filter(ctx, r.pod, names)
	if err != nil {
		return err
	}
	want := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return isVirtual(name) != r.virtual })
	if !slices.Equal(want, left) {
		return fmt.Errorf("%s: the extender answered with %d names, and must answer with %d of %d", r.title, len(left), len(want), len(names))
	}
	return nil
}

// nodeNames are the names of that many nodes, the virtual ones at the end.
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

// questions makes a Pod of each kind that the extender answers in another way.
func (c *cluster) questions(ctx context.Context, ours *asker, o options) ([]question, error) {
	holder := quotaPod("used-up", 0, 1)
	holder.Spec.NodeName = localName(0)
	// One after another: who is asked about the last Pod has seen the others.
	var pods []*corev1.Pod
	for _, pod := range []*corev1.Pod{holder, plainPod("plain", 0), quotaPod("used-up", 1, 1), quotaPod("with-slot", 0, 1)} {
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
	return []question{
		{title: "without a key", pod: pods[1]},
		{title: "quota used up", pod: pods[2], virtual: true},
		{title: "below the quota, has its slot", pod: asScheduled(slot)},
	}, nil
}

// asScheduled is the Pod as the scheduler keeps and sends it: without managed fields.
func asScheduled(pod *corev1.Pod) *corev1.Pod {
	pod.ManagedFields = nil
	return pod
}
