package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

// placed returns the bound Pods of the case: the given number of each revision on local nodes, the others on a virtual
// node.
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
		tc   throughputCase
		pods []corev1.Pod
		want string
	}{
		"a quota that holds": {tc: quota, pods: placed(quota, o, 3)},
		"one local Pod too many": {
			tc: quota, pods: placed(quota, o, 4), want: "revision app-00 has 4 replicas on local nodes: must be 3",
		},
		"one local Pod too few": {
			tc: quota, pods: placed(quota, o, 2), want: "revision app-00 has 2 replicas on local nodes: must be 3",
		},
		"a Pod that is not bound": {tc: quota, pods: unbound, want: "pod app-00-0007 is not bound"},
		"local unmanaged Pods":    {tc: plain, pods: placed(plain, o, 10)},
		"an unmanaged Pod in the cloud": {
			tc: plain, pods: placed(plain, o, 9), want: "revision app-00 has 9 replicas on local nodes: must be 10",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.tc.check(o, test.pods)
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.want)
		})
	}
}

func TestCallsAreChecked(t *testing.T) {
	o := options{Pods: 20}
	for name, test := range map[string]struct {
		calling calling
		calls   int
		want    string
	}{
		"no extender":                     {calling: noExtender},
		"called for each Pod":             {calling: noOpForAll, calls: 20},
		"called for each Pod, some twice": {calling: oursForAll, calls: 23},
		"not called for one Pod": {
			calling: oursForAll, calls: 19, want: "the extender was called 19 times: must be at least once for each of 20 pods",
		},
		"not called for unmanaged Pods": {calling: oursForNone},
		"called for unmanaged Pods": {
			calling: oursForNone, calls: 1, want: "the extender was called 1 times: must be 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := throughputCase{calling: test.calling}.checkCalls(o, test.calls)
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.want)
		})
	}
}
