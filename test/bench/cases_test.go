package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

// placed has the Pods of the case bound: so many of each revision on a local node, the others on a virtual one.
func placed(tc throughputCase, o options, local int) []corev1.Pod {
	var pods []corev1.Pod
	for i, pod := range tc.pods(o) {
		pod.Spec.NodeName = virtualName(0)
		if i%(o.Pods/o.Revisions) < local {
			pod.Spec.NodeName = localName(i)
		}
		pods = append(pods, *pod)
	}
	return pods
}

func TestPlacementIsChecked(t *testing.T) {
	o := options{Nodes: 20, Pods: 20, Revisions: 2, Quota: 3}
	plain, quota := throughputCase{}, throughputCase{quota: true}
	unbound := placed(quota, o, 3)
	unbound[7].Spec.NodeName = ""
	for name, test := range map[string]struct {
		tc    throughputCase
		pods  []corev1.Pod
		fault string
	}{
		"a quota that holds":            {tc: quota, pods: placed(quota, o, 3)},
		"one too many at home":          {tc: quota, pods: placed(quota, o, 4), fault: "revision app-00 has 4 replicas on local nodes, and must have exactly 3"},
		"one too few at home":           {tc: quota, pods: placed(quota, o, 2), fault: "revision app-00 has 2 replicas on local nodes, and must have exactly 3"},
		"a Pod that is not bound":       {tc: quota, pods: unbound, fault: "pod app-00-0007 is not bound"},
		"Pods without a key at home":    {tc: plain, pods: placed(plain, o, 10)},
		"a Pod without a key elsewhere": {tc: plain, pods: placed(plain, o, 9), fault: "revision app-00 has 9 replicas on local nodes, and must have exactly 10"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.tc.check(o, test.pods)
			if test.fault == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.fault)
		})
	}
}

func TestWhoWasAskedIsChecked(t *testing.T) {
	o := options{Pods: 20}
	for name, test := range map[string]struct {
		asking asking
		asked  int
		fault  string
	}{
		"no extender":                            {asking: noExtender},
		"asked about each Pod":                   {asking: noOpForAll, asked: 20},
		"asked about each Pod, some twice":       {asking: oursForAll, asked: 23},
		"not asked about one":                    {asking: oursForAll, asked: 19, fault: "the extender was asked 19 times, and must have been asked about each of 20 pods"},
		"not asked about Pods without a mark":    {asking: oursForNone},
		"asked about Pods though without a mark": {asking: oursForNone, asked: 1, fault: "the extender was asked 1 times, and must not have been asked at all"},
	} {
		t.Run(name, func(t *testing.T) {
			err := throughputCase{asking: test.asking}.checkAsked(o, test.asked)
			if test.fault == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.fault)
		})
	}
}
