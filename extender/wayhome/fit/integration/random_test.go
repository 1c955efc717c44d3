package integration

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/spillway-k8s/spillway/policy"
)

type podClient = typedcorev1.PodInterface

const (
	localNodes   = 10
	virtualNodes = 2
	claims       = 10
	zones        = 3
	gpu          = "example.com/gpu"
)

func (r *round) node(kind string, i int) string { return fmt.Sprintf("%s-%s-%d", r.namespace, kind, i) }

func (r *round) zone() string { return fmt.Sprint("zone-", r.random.IntN(zones)) }

func (r *round) app() string { return fmt.Sprint("app-", r.random.IntN(4)) }

func (r *round) quantity(unit string, least, most int) resource.Quantity {
	return resource.MustParse(fmt.Sprint(least+r.random.IntN(most-least+1), unit))
}

// createNodes creates random nodes, and waits until the scheduler knows them.
func (r *round) createNodes(t *testing.T) {
	t.Helper()
	var nodes []*corev1.Node
	for i := range virtualNodes {
		n := r.bareNode(r.node("virtual", i))
		maps.Copy(n.Labels, policy.VirtualNodeLabels())
		n.Spec.Taints = []corev1.Taint{policy.ProviderTaint()}
		n.Status.Allocatable = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"),
			corev1.ResourcePods: resource.MustParse("1000"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		}
		nodes = append(nodes, n)
	}
	for i := range localNodes {
		n := r.bareNode(r.node("local", i))
		n.Status.Allocatable = corev1.ResourceList{
			corev1.ResourceCPU: r.quantity("", 1, 6), corev1.ResourceMemory: r.quantity("Gi", 2, 8),
			corev1.ResourcePods: r.quantity("", 4, 14), corev1.ResourceEphemeralStorage: r.quantity("Gi", 1, 10),
		}
		if r.chance(30) {
			n.Status.Allocatable[gpu] = r.quantity("", 1, 2)
		}
		if r.chance(60) {
			n.Labels["rack"] = fmt.Sprint("rack-", r.random.IntN(3))
		}
		if r.chance(15) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
				Key: "team", Value: "ml", Effect: corev1.TaintEffectNoSchedule,
			})
		}
		if r.chance(15) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule})
		}
		n.Spec.Unschedulable = r.chance(8)
		if r.chance(5) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue,
			})
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.Status.Capacity = n.Status.Allocatable
		_, err := r.client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	probe := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec: corev1.PodSpec{
			Containers:   []corev1.Container{{Name: "main", Image: "x"}},
			NodeSelector: map[string]string{corev1.LabelHostname: nodes[len(nodes)-1].Name},
			Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	probe, err := r.pods(r.namespace).Create(t.Context(), probe, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got, err := r.pods(r.namespace).Get(t.Context(), "probe", metav1.GetOptions{})
		return err == nil && got.Spec.NodeName != ""
	}, timeout, 10*time.Millisecond)
	r.remove(t, probe)
}

func (r *round) bareNode(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelTopologyZone: r.zone(),
		}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		}},
	}
}

// createClaims creates claims that are bound to volumes of one node or of one zone.
func (r *round) createClaims(t *testing.T) {
	t.Helper()
	core := r.client.CoreV1()
	for i := range claims {
		name := fmt.Sprintf("%s-claim-%d", r.namespace, i)
		requirement := corev1.NodeSelectorRequirement{
			Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{r.zone()},
		}
		if r.chance(30) {
			requirement.Key = corev1.LabelHostname
			requirement.Values = []string{r.node("local", r.random.IntN(localNodes))}
		}
		mode := corev1.ReadWriteMany
		if r.chance(40) {
			mode = corev1.ReadWriteOncePod
		}
		modes := []corev1.PersistentVolumeAccessMode{mode}
		size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		claim, err := core.PersistentVolumeClaims(r.namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Annotations: map[string]string{volumehelpers.AnnBindCompleted: "yes"},
			},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: modes, VolumeName: name, StorageClassName: new(""),
				Resources: corev1.VolumeResourceRequirements{Requests: size},
			},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeSpec{
				AccessModes: modes, Capacity: size,
				ClaimRef:               &corev1.ObjectReference{Namespace: r.namespace, Name: name, UID: claim.UID},
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/data"}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{
						MatchExpressions: []corev1.NodeSelectorRequirement{requirement},
					}},
				}},
			},
		}
		_, err = core.PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{})
		require.NoError(t, err)
		claim.Status.Phase = corev1.ClaimBound
		_, err = core.PersistentVolumeClaims(r.namespace).UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
}

// pod returns the i-th Pod, which has some random rules.
func (r *round) pod(i int) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.namespace, Name: fmt.Sprint("pod-", i),
			Labels: map[string]string{
				"app": r.app(), "revision": fmt.Sprint(r.random.IntN(2)), "unique": fmt.Sprint(i),
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "x", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: r.quantity("m", 10, 900)},
			},
		}}},
	}
	if r.chance(20) {
		p.Namespace += "-b"
	}
	spec := &p.Spec
	requests := spec.Containers[0].Resources.Requests
	for _, rule := range []struct {
		percent int
		add     func()
	}{
		{30, func() { requests[corev1.ResourceMemory] = r.quantity("Mi", 10, 1500) }},
		{21, func() { requests[corev1.ResourceEphemeralStorage] = r.quantity("Mi", 10, 1500) }},
		{8, func() {
			requests[gpu] = resource.MustParse("1")
			spec.Containers[0].Resources.Limits = corev1.ResourceList{gpu: resource.MustParse("1")}
		}},
		{15, func() {
			spec.Containers[0].Ports = []corev1.ContainerPort{{
				ContainerPort: 80, HostPort: int32(8000 + r.random.IntN(3)),
			}}
		}},
		{10, func() {
			always := corev1.ContainerRestartPolicyAlways
			spec.InitContainers = []corev1.Container{{
				Name: "sidecar", Image: "x", RestartPolicy: &always,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: r.quantity("m", 10, 900),
				}},
			}}
		}},
		{7, func() {
			spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: r.quantity("m", 2000, 3000),
			}}
		}},
		{20, func() { spec.Tolerations = []corev1.Toleration{{Key: "team", Operator: corev1.TolerationOpExists}} }},
		{12, func() { spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: r.zone()} }},
		{22, func() { spec.TopologySpreadConstraints = r.spread() }},
		{25, func() { r.affinity(p) }},
		{9, func() { r.useClaim(p) }},
		{2, func() { spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }},
	} {
		if r.chance(rule.percent) {
			rule.add()
		}
	}
	return p
}

func (r *round) spread() (constraints []corev1.TopologySpreadConstraint) {
	keys := []string{corev1.LabelTopologyZone, corev1.LabelHostname, "rack"}
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	for _, i := range r.random.Perm(len(keys))[:1+r.random.IntN(2)] {
		c := corev1.TopologySpreadConstraint{
			TopologyKey: keys[i], MaxSkew: int32(1 + r.random.IntN(3)), WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": r.app()}},
		}
		if r.chance(30) {
			c.MinDomains = new(int32(1 + r.random.IntN(5)))
		}
		if r.chance(40) {
			c.MatchLabelKeys = []string{"revision"}
		}
		if r.chance(50) {
			c.NodeTaintsPolicy = &policies[r.random.IntN(2)]
		}
		if r.chance(50) {
			c.NodeAffinityPolicy = &policies[r.random.IntN(2)]
		}
		constraints = append(constraints, c)
	}
	return constraints
}

func (r *round) affinity(p *corev1.Pod) {
	term := func() corev1.PodAffinityTerm {
		keys := []string{corev1.LabelTopologyZone, corev1.LabelHostname, "rack"}
		t := corev1.PodAffinityTerm{
			TopologyKey:   keys[r.random.IntN(len(keys))],
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": r.app()}},
		}
		switch {
		case r.chance(15):
			t.Namespaces = []string{r.namespace, r.namespace + "-b"}
		case r.chance(15):
			t.NamespaceSelector = &metav1.LabelSelector{}
		}
		if r.chance(30) {
			t.MatchLabelKeys = []string{"revision"}
		}
		return t
	}
	p.Spec.Affinity = &corev1.Affinity{}
	if r.chance(60) {
		p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term()},
		}
	}
	if r.chance(60) {
		p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term()},
		}
	}
	if r.chance(30) {
		terms := []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpNotIn, Values: []string{r.zone()}},
		}}}
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}
	}
}

func (r *round) useClaim(p *corev1.Pod) {
	p.Namespace = r.namespace
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: fmt.Sprintf("%s-claim-%d", r.namespace, r.random.IntN(claims)),
		},
	}}}
}
