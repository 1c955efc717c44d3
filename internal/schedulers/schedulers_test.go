package schedulers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

var (
	byDefault = schedulers.Schedulers{}
	profile   = schedulers.Schedulers{Assigned: "bursting", Others: []string{"tke-scheduler"}}
	sidecar   = schedulers.Schedulers{Assigned: "bursting", Others: []string{"tke-scheduler"}, EveryPod: true}
	onDefault = schedulers.Schedulers{Assigned: corev1.DefaultSchedulerName}
)

func TestWhichSchedulersCallTheExtender(t *testing.T) {
	cases := map[string]struct {
		schedulers schedulers.Schedulers
		name       string
		assigned   string
		calls      bool
	}{
		"the default scheduler, if no other is set":     {byDefault, "default-scheduler", "default-scheduler", true},
		"a Pod without a name has the default":          {byDefault, "", "", true},
		"no other scheduler, if none is set":            {byDefault, "volcano", "volcano", false},
		"Pods of the default scheduler are assigned":    {profile, "default-scheduler", "bursting", true},
		"so are Pods without a name":                    {sidecar, "", "bursting", true},
		"a Pod may name the assigned scheduler itself":  {sidecar, "bursting", "bursting", true},
		"a further scheduler keeps its Pods":            {profile, "tke-scheduler", "tke-scheduler", true},
		"any other scheduler keeps its Pods":            {profile, "volcano", "volcano", false},
		"the default scheduler can be assigned as well": {onDefault, "default-scheduler", "default-scheduler", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spec := &corev1.PodSpec{SchedulerName: tc.name}
			tc.schedulers.Assign(spec)
			assert.Equal(t, tc.assigned, spec.SchedulerName)
			assert.Equal(t, tc.calls, tc.schedulers.Call(tc.name))
		})
	}
}

func TestForWhichPodsTheExtenderIsCalled(t *testing.T) {
	marked := []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")},
	}}}
	cases := map[string]struct {
		schedulers schedulers.Schedulers
		spec       corev1.PodSpec
		want       bool
	}{
		"a Pod with the marker":                           {byDefault, corev1.PodSpec{Containers: marked}, true},
		"no Pod without it":                               {byDefault, corev1.PodSpec{}, false},
		"no Pod without it, also if it names the profile": {profile, corev1.PodSpec{SchedulerName: "bursting"}, false},
		"every Pod that names a scheduler of its own":     {sidecar, corev1.PodSpec{SchedulerName: "bursting"}, true},
		"every Pod that names a further one": {
			sidecar,
			corev1.PodSpec{SchedulerName: "tke-scheduler"},
			true,
		},
		"no Pod of the default scheduler then": {
			sidecar,
			corev1.PodSpec{SchedulerName: "default-scheduler"},
			false,
		},
		"a Pod from before, with the marker": {sidecar, corev1.PodSpec{Containers: marked}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, tc.schedulers.Place(&tc.spec)) })
	}
}

func TestWarn(t *testing.T) {
	const head = `OtherScheduler: scheduler "volcano" does not call the extender of Spillway: `
	cases := map[string]struct {
		scheduler      string
		mode           policy.Mode
		quota, limited bool
		want           string
	}{
		"a quota": {"volcano", policy.ModeNone, true, false, head + "LOCAL_REPLICAS has no effect"},
		"localPrefer": {
			"volcano",
			policy.ModeLocalPrefer,
			false,
			false,
			head + "the Pod bursts only after",
		},
		"auto":                      {"volcano", policy.ModeAuto, false, false, head + "the Pod bursts only after"},
		"enforce needs no extender": {"volcano", policy.ModeEnforce, false, false, ""},
		"but limits do":             {"volcano", policy.ModeEnforce, false, true, head + "the namespace has limits"},
		"off asks for nothing":      {"volcano", policy.ModeOff, true, false, ""},
		"no key asks for nothing":   {"volcano", policy.ModeNone, false, true, ""},
		"a scheduler that calls":    {"tke-scheduler", policy.ModeAuto, true, true, ""},
		"the default scheduler":     {"", policy.ModeAuto, true, true, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := profile.Warn(tc.scheduler, tc.mode, tc.quota, tc.limited)
			if tc.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, tc.want)
			assert.Contains(t, got, schedulers.Right)
		})
	}
}
