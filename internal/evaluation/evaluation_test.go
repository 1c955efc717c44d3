package evaluation

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// cluster is a fake of Facts and Owners.
type cluster struct {
	global           policy.Switch
	owner, namespace map[string]string
	// inherited and settings are the annotations of the owner and the namespace.
	inherited, settings map[string]string
	limits              string
	nodes               []policy.VirtualNode
	err, claimErr       error
}

func (c cluster) Global() policy.Switch                { return c.global }
func (c cluster) Ours() []policy.VirtualNode           { return c.nodes }
func (c cluster) Claims(*corev1.Pod) map[string]string { return nil }
func (c cluster) FindClaims(_ context.Context, pod *corev1.Pod) (map[string]string, error) {
	kinds := map[string]string{}
	for name := range policy.Claims(pod) {
		kinds[name] = "nas.csi.everest.io"
	}
	return kinds, c.claimErr
}

func (c cluster) Workload(context.Context, *corev1.Pod) (Workload, error) {
	places := map[string]string{}
	for key := range c.inherited {
		places[key] = "Deployment web"
	}
	return Workload{Labels: c.owner, Annotations: c.inherited, Places: places}, c.err
}

func (c cluster) Namespace(_ context.Context, name string) (labels, annotations map[string]string, err error) {
	if name == "gone" {
		return nil, nil, errors.New("not found")
	}
	annotations = maps.Clone(c.settings)
	if c.limits != "" {
		annotations = map[string]string{policy.CloudLimitsAnnotation: c.limits}
	}
	return c.namespace, annotations, nil
}

func TestEvaluate(t *testing.T) {
	burst := func(mode string) map[string]string { return map[string]string{policy.BurstLabel: mode} }
	annotation := func(key, value string) map[string]string { return map[string]string{key: value} }
	enforcing := map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}
	quota := func(n string) map[string]string { return annotation(policy.LocalReplicasAnnotation, n) }
	logs := []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"},
	}}}
	type want struct {
		managed, off, forbidden, mayBurst bool
		mode                              policy.Mode
		errors                            int
		limited                           bool
	}
	malformed := want{managed: true, off: true, forbidden: true, errors: 1}
	virtual := []policy.VirtualNode{{Name: "virtual-0", Labels: map[string]string{"zone": "a"}}}
	auto := want{managed: true, mayBurst: true, mode: policy.ModeAuto}
	for name, test := range map[string]struct {
		cluster             cluster
		labels, annotations map[string]string
		host                bool
		volumes             []corev1.Volume
		selector            map[string]string
		want                want
	}{
		"a Pod without keys is unmanaged": {want: want{mayBurst: true}},
		"a Pod with only the local switch is unmanaged": {
			annotations: annotation(policy.SwitchKey, "true"), want: want{mayBurst: true},
		},
		"a selector that no virtual node matches keeps a Pod local": {
			cluster: cluster{nodes: virtual}, labels: burst("enforce"), selector: map[string]string{"disktype": "ssd"},
			want: want{managed: true, forbidden: true, mode: policy.ModeEnforce},
		},
		"a selector that a virtual node matches does not": {
			cluster: cluster{nodes: virtual}, labels: burst("auto"), selector: map[string]string{"zone": "a"},
			want: auto,
		},
		"without virtual nodes a selector excludes nothing": {
			labels: burst("auto"), selector: map[string]string{"disktype": "ssd"}, want: auto,
		},
		"a Pod with a quota is managed": {annotations: quota("1"), want: want{managed: true, mayBurst: true}},
		"a Pod with a quota is managed while the switch is off": {
			cluster: cluster{global: policy.SwitchOff}, annotations: quota("1"), want: want{managed: true},
		},
		"a malformed quota counts as off": {annotations: quota("x"), want: malformed},
		"a malformed quota counts as off while the switch is off": {
			cluster: cluster{global: policy.SwitchOff}, annotations: quota("x"), want: malformed,
		},
		"the mode comes from the label of the Pod":   {labels: burst("auto"), want: auto},
		"the mode comes from the label of the owner": {cluster: cluster{owner: burst("auto")}, want: auto},
		"the mode comes from the label of the namespace": {
			cluster: cluster{namespace: enforcing}, want: want{managed: true, mayBurst: true, mode: policy.ModeEnforce},
		},
		"the label of the Pod overrides that of the owner": {
			cluster: cluster{owner: burst("enforce")}, labels: burst("off"),
			want: want{managed: true, off: true, forbidden: true, mode: policy.ModeOff},
		},
		"a malformed label of the Pod counts as off without a mode": {labels: burst("x"), want: malformed},
		"a malformed label of the owner counts as off without a mode": {cluster: cluster{owner: burst("x")},
			want: malformed},
		"a malformed local switch counts as off": {
			annotations: annotation(policy.SwitchKey, "x"), want: want{off: true, forbidden: true, errors: 1},
		},
		"a burst label overrides a malformed local switch": {
			labels: burst("auto"), annotations: annotation(policy.SwitchKey, "x"),
			want: want{managed: true, mayBurst: true, mode: policy.ModeAuto, errors: 1},
		},
		"malformed replacements of a hostPath volume count as off": {
			labels: burst("auto"), annotations: annotation(policy.HostPathReplacementAnnotation, "x"), volumes: logs,
			want: want{managed: true, off: true, forbidden: true, mode: policy.ModeAuto, errors: 1},
		},
		"malformed replacements without a hostPath volume are ignored": {
			labels: burst("auto"), annotations: annotation(policy.HostPathReplacementAnnotation, "x"),
			want: want{managed: true, mayBurst: true, mode: policy.ModeAuto, errors: 1},
		},
		"enforce ignores a malformed quota": {
			labels: burst("enforce"), annotations: quota("x"),
			want: want{managed: true, mayBurst: true, mode: policy.ModeEnforce, errors: 1},
		},
		"a managed Pod that the cloud cannot run is forbidden": {
			labels: burst("auto"), host: true, want: want{managed: true, forbidden: true, mode: policy.ModeAuto},
		},
		"an unmanaged Pod that the cloud cannot run is forbidden": {host: true, want: want{forbidden: true}},
		"a Pod in a namespace with limits is managed": {
			cluster: cluster{limits: "pods=1"}, want: want{managed: true, mayBurst: true, limited: true},
		},
		"a Pod in a namespace with limits is managed while the switch is off": {
			cluster: cluster{limits: "pods=1", global: policy.SwitchOff}, want: want{managed: true, limited: true},
		},
		"a Pod that the cloud cannot run is not managed because of limits": {
			cluster: cluster{limits: "pods=1"}, host: true, want: want{forbidden: true, limited: true},
		},
		"a Pod in a namespace that may not use the cloud is not managed": {
			cluster: cluster{limits: "pods=0"}, want: want{forbidden: true, limited: true},
		},
		"a Pod in a namespace with malformed limits is not managed": {
			cluster: cluster{limits: "pods=x"}, want: want{forbidden: true, limited: true},
		},
		"a Pod with a label in a namespace that may not use the cloud is managed and forbidden": {
			cluster: cluster{limits: "pods=0"}, labels: burst("auto"),
			want: want{managed: true, forbidden: true, mode: policy.ModeAuto, limited: true},
		},
		"a Pod of a workload with shares is managed": {
			cluster: cluster{inherited: quota("1")}, want: want{managed: true, mayBurst: true},
		},
		"a Pod of a namespace with shares is managed": {
			cluster: cluster{settings: annotation(policy.CloudMaxAnnotation, "20%")},
			want:    want{managed: true, mayBurst: true},
		},
		"a time to wait alone does not make a Pod managed": {
			cluster: cluster{inherited: annotation(policy.BurstAfterAnnotation, "90s")}, want: want{mayBurst: true},
		},
		"malformed shares of the workload count as off": {cluster: cluster{inherited: quota("x")}, want: malformed},
		"malformed shares of the workload do not count if the Pod has its own": {
			cluster: cluster{inherited: quota("x")}, annotations: quota("1"), want: want{managed: true, mayBurst: true},
		},
		"a malformed time to wait of the namespace counts as off": {
			cluster: cluster{settings: annotation(policy.BurstAfterAnnotation, "soon")},
			want:    want{off: true, forbidden: true, errors: 1},
		},
		"enforce does not ignore a malformed cap of the cloud": {
			labels: burst("enforce"), annotations: annotation(policy.CloudMaxAnnotation, "x"),
			want: want{managed: true, off: true, forbidden: true, mode: policy.ModeEnforce, errors: 1},
		},
		"a copy of a manifest does not keep what its original inherited": {
			cluster: cluster{inherited: map[string]string{}},
			annotations: map[string]string{
				policy.LocalReplicasAnnotation: "1", policy.InheritedAnnotation: policy.LocalReplicasAnnotation,
			},
			want: want{mayBurst: true},
		},
		"a failed look-up of owners does not matter for a Pod with a label": {
			cluster: cluster{err: errors.New("connection refused")}, labels: burst("auto"), want: auto,
		},
		"nor for a Pod with a malformed label": {
			cluster: cluster{err: errors.New("connection refused")}, labels: burst("x"), want: malformed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := policy.New(policy.DefaultConfig())
			require.NoError(t, err)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: test.labels, Annotations: test.annotations},
				Spec: corev1.PodSpec{
					NodeSelector: test.selector,
					HostNetwork:  test.host, Containers: []corev1.Container{{Name: "c"}}, Volumes: test.volumes,
				},
			}
			got, err := New(rules, test.cluster, test.cluster, test.cluster, time.Minute).Evaluate(t.Context(), pod)
			require.NoError(t, err)
			assert.Equal(t, test.want, want{
				got.Managed, got.Off, got.Forbidden(), got.MayBurst(), got.BurstMode, len(got.Errors),
				got.Limited,
			}, got.Describe())
		})
	}
}

func TestErrorsSayWhereTheirAnnotationsStand(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	for name, test := range map[string]struct {
		cluster cluster
		own     map[string]string
		want    string
	}{
		"on the Pod": {
			own:  map[string]string{policy.LocalMinAnnotation: "x"},
			want: `spillway.io/local-min: invalid value "x": ` + policy.AmountRight,
		},
		"on the workload": {
			cluster: cluster{inherited: map[string]string{policy.LocalMinAnnotation: "x"}},
			want: `spillway.io/local-min: invalid value "x": ` + policy.AmountRight +
				`; spillway.io/local-min is an annotation of Deployment web`,
		},
		"on the namespace and the workload": {
			cluster: cluster{
				inherited: map[string]string{policy.LocalMinAnnotation: "3"},
				settings:  map[string]string{policy.LocalMaxAnnotation: "2"},
			},
			want: `spillway.io/local-min: invalid value "3": must be at most spillway.io/local-max, which is "2"; ` +
				`spillway.io/local-min is an annotation of Deployment web; ` +
				`spillway.io/local-max is an annotation of Namespace shop`,
		},
		"on the workload and the Pod": {
			cluster: cluster{inherited: map[string]string{policy.LocalMinAnnotation: "3"}},
			own:     map[string]string{policy.LocalMaxAnnotation: "2"},
			want: `spillway.io/local-min: invalid value "3": must be at most spillway.io/local-max, which is "2"; ` +
				`spillway.io/local-min is an annotation of Deployment web`,
		},
		"on the workload, and copied to the Pod": {
			cluster: cluster{inherited: map[string]string{policy.BurstAfterAnnotation: "soon"}},
			own: map[string]string{
				policy.BurstAfterAnnotation: "soon", policy.InheritedAnnotation: policy.BurstAfterAnnotation,
			},
			want: `spillway.io/burst-after: invalid value "soon": must be a duration from 0s to 24h0m0s, ` +
				`such as "90s"; ` +
				`spillway.io/burst-after is an annotation of Deployment web`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Annotations: test.own}}
			got, err := New(rules, test.cluster, test.cluster, test.cluster, time.Minute).Evaluate(t.Context(), pod)
			require.NoError(t, err)
			require.Len(t, got.Errors, 1)
			require.EqualError(t, got.Errors[0], test.want)
			assert.Len(t, policy.KeyErrors(got.Errors[0]), 1)
		})
	}
}

func TestEvaluateFailsIfTheOwnersCannotBeLookedUp(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	unreachable := cluster{err: errors.New("connection refused")}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
	_, err = New(rules, unreachable, unreachable, unreachable, time.Minute).Evaluate(t.Context(), pod)
	assert.ErrorContains(t, err, "connection refused")
	pod.Namespace = "gone"
	_, err = New(rules, cluster{}, cluster{}, cluster{}, time.Minute).Evaluate(t.Context(), pod)
	assert.ErrorContains(t, err, "not found")
}

// The cache lacks the claim of this Pod; the API server has it.
func TestEvaluateLooksUpTheClaimsOfManagedPodsOnly(t *testing.T) {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c"}},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}},
	}}
	unreachable := cluster{claimErr: errors.New("connection refused")}

	got, err := New(rules, unreachable, unreachable, unreachable, time.Minute).Evaluate(t.Context(), pod)
	require.NoError(t, err, "the claims of an unmanaged Pod are not looked up")
	assert.Equal(t, policy.ReasonPersistentVolume, got.Reason)

	pod.Labels = map[string]string{policy.BurstLabel: "enforce"}
	_, err = New(rules, unreachable, unreachable, unreachable, time.Minute).Evaluate(t.Context(), pod)
	require.ErrorContains(t, err, "connection refused")
	got, err = New(rules, cluster{}, cluster{}, cluster{}, time.Minute).Evaluate(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, policy.PlacementCloudOnly, got.Placement)
}
