package verdict

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// cluster is what is known beside the Pod.
type cluster struct {
	global              policy.Switch
	workload, namespace map[string]string
	err, claimErr       error
}

func (c cluster) Global() policy.Switch                { return c.global }
func (c cluster) Claims(*corev1.Pod) map[string]string { return nil }
func (c cluster) FindClaims(_ context.Context, pod *corev1.Pod) (map[string]string, error) {
	kinds := map[string]string{}
	for name := range policy.Claims(pod) {
		kinds[name] = "nas.csi.everest.io"
	}
	return kinds, c.claimErr
}

func (c cluster) Labels(context.Context, *corev1.Pod) (map[string]string, error) {
	return c.workload, c.err
}

func (c cluster) Namespace(context.Context, string) (map[string]string, error) {
	return c.namespace, c.err
}

func TestDecide(t *testing.T) {
	burst := func(mode string) map[string]string { return map[string]string{policy.BurstLabel: mode} }
	enforcing := map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}
	quota := func(n string) map[string]string {
		return map[string]string{policy.LocalReplicasAnnotation: n}
	}
	logs := []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}}}
	type want struct {
		keyed, off, forbidden, mayBurst bool
		label                           policy.Mode
		faults                          int
	}
	for name, test := range map[string]struct {
		cluster             cluster
		labels, annotations map[string]string
		host                bool
		want                want
		volumes             []corev1.Volume
	}{
		"no key at all":                            {cluster{}, nil, nil, false, want{mayBurst: true}, nil},
		"the local switch is no key":               {cluster{}, nil, map[string]string{policy.SwitchKey: "true"}, false, want{mayBurst: true}, nil},
		"a quota is one":                           {cluster{}, nil, quota("1"), false, want{keyed: true, mayBurst: true}, nil},
		"a quota under a switch that is off":       {cluster{global: policy.SwitchOff}, nil, quota("1"), false, want{keyed: true}, nil},
		"a malformed quota":                        {cluster{}, nil, quota("x"), false, want{keyed: true, off: true, forbidden: true, faults: 1}, nil},
		"a malformed quota and the switch off":     {cluster{global: policy.SwitchOff}, nil, quota("x"), false, want{keyed: true, off: true, forbidden: true, faults: 1}, nil},
		"its own label":                            {cluster{}, burst("auto"), nil, false, want{keyed: true, mayBurst: true, label: policy.ModeAuto}, nil},
		"its workload's label":                     {cluster{workload: burst("auto")}, nil, nil, false, want{keyed: true, mayBurst: true, label: policy.ModeAuto}, nil},
		"its namespace's label":                    {cluster{namespace: enforcing}, nil, nil, false, want{keyed: true, mayBurst: true, label: policy.ModeEnforce}, nil},
		"its own label before its workload's":      {cluster{workload: burst("enforce")}, burst("off"), nil, false, want{keyed: true, off: true, forbidden: true, label: policy.ModeOff}, nil},
		"a malformed label, whose mode is none":    {cluster{}, burst("x"), nil, false, want{keyed: true, off: true, forbidden: true, faults: 1}, nil},
		"a malformed label of its workload":        {cluster{workload: burst("x")}, nil, nil, false, want{keyed: true, off: true, forbidden: true, faults: 1}, nil},
		"a malformed local switch":                 {cluster{}, nil, map[string]string{policy.SwitchKey: "x"}, false, want{off: true, forbidden: true, faults: 1}, nil},
		"a label beats a malformed switch":         {cluster{}, burst("auto"), map[string]string{policy.SwitchKey: "x"}, false, want{keyed: true, mayBurst: true, label: policy.ModeAuto, faults: 1}, nil},
		"malformed replacements":                   {cluster{}, burst("auto"), map[string]string{policy.HostPathReplacementAnnotation: "x"}, false, want{keyed: true, off: true, forbidden: true, label: policy.ModeAuto, faults: 1}, logs},
		"malformed replacements of nothing":        {cluster{}, burst("auto"), map[string]string{policy.HostPathReplacementAnnotation: "x"}, false, want{keyed: true, mayBurst: true, label: policy.ModeAuto, faults: 1}, nil},
		"enforce knows no quota, malformed or not": {cluster{}, burst("enforce"), quota("x"), false, want{keyed: true, mayBurst: true, label: policy.ModeEnforce, faults: 1}, nil},
		"what the cloud cannot run is forbidden":   {cluster{}, burst("auto"), nil, true, want{keyed: true, forbidden: true, label: policy.ModeAuto}, nil},
		"forbidden without a key":                  {cluster{}, nil, nil, true, want{forbidden: true}, nil},
		"with its own label no owner is asked":     {cluster{err: errors.New("away")}, burst("auto"), nil, false, want{keyed: true, mayBurst: true, label: policy.ModeAuto}, nil},
		"a malformed own label asks no owner too":  {cluster{err: errors.New("away")}, burst("x"), nil, false, want{keyed: true, off: true, forbidden: true, faults: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := policy.New(policy.DefaultConfig())
			require.NoError(t, err)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: test.labels, Annotations: test.annotations},
				Spec:       corev1.PodSpec{HostNetwork: test.host, Containers: []corev1.Container{{Name: "c"}}, Volumes: test.volumes},
			}
			got, err := New(rules, test.cluster, test.cluster, time.Minute).Decide(t.Context(), pod)
			require.NoError(t, err)
			assert.Equal(t, test.want, want{got.Keyed, got.Off, got.Forbidden(), got.MayBurst(), got.Label, len(got.Faults)}, got.Describe())
		})
	}
}

func TestOwnersThatCannotBeLookedUpAreAnError(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	away := cluster{err: errors.New("the API server is away")}
	_, err = New(rules, away, away, time.Minute).Decide(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}})
	assert.ErrorContains(t, err, "the API server is away")
}

// The caches do not know the claim of this Pod yet; the API server does.
func TestTheClaimsOfAKeyedPodAreLookedFor(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c"}},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}},
	}}
	away := cluster{claimErr: errors.New("the API server is away")}

	got, err := New(rules, away, away, time.Minute).Decide(t.Context(), pod)
	require.NoError(t, err, "nobody is asked about the claims of a Pod without a key")
	assert.Equal(t, policy.ReasonPersistentVolume, got.Reason)

	pod.Labels = map[string]string{policy.BurstLabel: "enforce"}
	_, err = New(rules, away, away, time.Minute).Decide(t.Context(), pod)
	require.ErrorContains(t, err, "the API server is away")
	got, err = New(rules, cluster{}, cluster{}, time.Minute).Decide(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, policy.PlacementCloudOnly, got.Placement)
}
