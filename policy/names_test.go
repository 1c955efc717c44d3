package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"

	"github.com/spillway-k8s/spillway/policy"
)

// The keys are an interface: users' manifests carry them. A change here breaks those manifests.
func TestNames(t *testing.T) {
	want := map[string]string{
		// Written by users, verbatim from the documents of the systems that Spillway replaces.
		"SwitchKey":                     "AUTO_SCALE_EKS",
		"SwitchConfigMapNamespace":      "kube-system",
		"SwitchConfigMapName":           "eks-config",
		"WayHomeSwitch":                 "WAY_HOME",
		"LocalReplicasAnnotation":       "LOCAL_REPLICAS",
		"HostPathReplacementAnnotation": "coordinator.cci.io/hostpath-replacement",
		"BurstLabel":                    "virtual-kubelet.io/burst-to-cci",
		"BurstLabelAlias":               "bursting.cci.io/burst-to-cci",
		"NamespaceEnforceLabel":         "virtual-node-affinity-injection",
		"NamespaceEnforceValue":         "enabled",
		"ResolvConfAnnotation":          "eks.tke.cloud.tencent.com/resolv-conf",
		"FixedIPAnnotation":             "tke.cloud.tencent.com/vpc-ip-claim-delete-policy",
		"LocaltimePath":                 "/etc/localtime",
		// The virtual node.
		"NodeTypeLabel":      "type",
		"NodeTypeVirtual":    "virtual-kubelet",
		"TrustedNodeLabel":   "node-restriction.kubernetes.io/spillway",
		"TrustedNodeValue":   "virtual-node",
		"LiqoNodeLabel":      "liqo.io/type",
		"LiqoNodeVirtual":    "virtual-node",
		"ProviderTaintKey":   "virtual-kubelet.io/provider",
		"ProviderTaintValue": "huawei",
		// Kubernetes' own.
		"DeletionCostAnnotation": "controller.kubernetes.io/pod-deletion-cost",
		// Ours.
		"Prefix":                          "spillway.io/",
		"PlacementResource":               "spillway.io/placement",
		"LocalSlotAnnotation":             "spillway.io/local-slot",
		"CloudSlotAnnotation":             "spillway.io/cloud-slot",
		"CloudLimitsAnnotation":           "spillway.io/cloud-limits",
		"AllowOversizeAnnotation":         "spillway.io/allow-oversize",
		"AllowCloudAnnotationsAnnotation": "spillway.io/allow-cloud-annotations",
		"KeptLocalAnnotation":             "spillway.io/kept-local",
		"RequeueAnnotation":               "spillway.io/wake",
		"LocalReplicasCondition":          "spillway.io/LocalReplicas",
		"AddedAffinityAnnotation":         "spillway.io/added-node-affinity",
		"TraceAnnotation":                 "spillway.io/traceparent",
		"CostAnnotation":                  "spillway.io/cost",
		"OnSoldOutAnnotation":             "spillway.io/on-sold-out",
		"LocalMinAnnotation":              "spillway.io/local-min",
		"LocalMaxAnnotation":              "spillway.io/local-max",
		"CloudMaxAnnotation":              "spillway.io/cloud-max",
		"BurstAfterAnnotation":            "spillway.io/burst-after",
		"WayHomeAnnotation":               "spillway.io/way-home",
		"InheritedAnnotation":             "spillway.io/inherited",
		"MovingHomeAnnotation":            "spillway.io/moving-home",
		"DrainBackAnnotation":             "spillway.io/drain-back",
		"ServicesAnnotation":              "spillway.io/services",
		"ReservedPortsAnnotation":         "spillway.io/reserved-ports",
		"ServicesContainer":               "spillway-proxy",
		"SoldOutUntilAnnotation":          "spillway.io/sold-out-until",
		"SoldOutLockAnnotation":           "spillway.io/sold-out-lock",
		"UninstallLabel":                  "spillway.io/uninstall",
		"UninstallGuarded":                "guarded",
		"UninstallForced":                 "forced",
		// The identity of what is in the cloud: another value, and a cluster does not know its own Pods there.
		"CloudClusterKey":          "spillway.io/cluster-id",
		"CloudNodeAnnotation":      "spillway.io/node",
		"CloudNamespaceAnnotation": "spillway.io/pod-namespace",
		"CloudNameAnnotation":      "spillway.io/pod-name",
		"CloudUIDAnnotation":       "spillway.io/pod-uid",
		"CloudOwnerLabel":          "spillway.io/owner",
		"CloudFileAnnotation":      "spillway.io/file-",
		"CloudSizeAnnotation":      "spillway.io/size",

		"CloudSourceKindAnnotation":      "spillway.io/source-kind",
		"CloudSourceNamespaceAnnotation": "spillway.io/source-namespace",
		"CloudSourceNameAnnotation":      "spillway.io/source-name",
		"CloudSourceUIDAnnotation":       "spillway.io/source-uid",
		"CloudSourceVolumeAnnotation":    "spillway.io/source-volume",
		"DoctorLabel":                    "spillway.io/doctor",
		"DoctorUntilAnnotation":          "spillway.io/doctor-until",
		"CloudRenewAnnotation":           "spillway.io/renew-at",
	}
	assert.Equal(t, want, constants(t, "names.go"))
}

func TestReasons(t *testing.T) {
	camelCase := regexp.MustCompile(`^([A-Z][a-z0-9]*)+$`)
	names := map[string]string{}
	for name, value := range constants(t, "reason.go") {
		assert.Regexp(t, camelCase, value, name)
		assert.Empty(t, names[value], "%s has the value of another reason", name)
		names[value] = name
	}
	for _, rule := range policy.Rules() {
		assert.Contains(t, names, string(rule.Reason), "every rule's reason stands in reason.go")
		assert.NotEmpty(t, rule.Text, rule.Reason)
		assert.NotEmpty(t, rule.Source, rule.Reason)
	}
}

// constants reads the string constants of a file of this package, by name.
func constants(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	found := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			literal, ok := value.(*ast.BasicLit)
			require.True(t, ok && literal.Kind == token.STRING, "%s is no string literal", spec.Names[i])
			found[spec.Names[i].Name], err = strconv.Unquote(literal.Value)
			require.NoError(t, err)
		}
		return true
	})
	require.NotEmpty(t, found)
	return found
}

func TestIsVirtualNode(t *testing.T) {
	cases := map[string]struct {
		labels map[string]string
		want   bool
	}{
		"the label of a virtual node":          {map[string]string{"type": "virtual-kubelet", "zone": "a"}, true},
		"another value is a local node":        {map[string]string{"type": "kwok"}, false},
		"no label is a local node":             {map[string]string{"zone": "a"}, false},
		"a node without labels is a local one": {nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, policy.IsVirtualNode(tc.labels)) })
	}
}

// A kubelet may label its own Node, but not with the prefix node-restriction.kubernetes.io/.
func TestIsOurNode(t *testing.T) {
	assert.True(t, policy.IsOurNode(policy.VirtualNodeLabels()))
	assert.False(t, policy.IsOurNode(nil))
	assert.False(t, policy.IsOurNode(map[string]string{
		policy.NodeTypeLabel: policy.NodeTypeVirtual, policy.CloudClusterKey: "prod", "kubernetes.io/role": "agent",
	}), "labels that a kubelet can give itself")
	assert.Equal(t, "node-restriction.kubernetes.io/", policy.TrustedNodeLabel[:len("node-restriction.kubernetes.io/")])
}

func TestNeedsPlacement(t *testing.T) {
	asking := corev1.Container{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"spillway.io/placement": resource.MustParse("1")},
	}}
	cases := map[string]struct {
		spec corev1.PodSpec
		want bool
	}{
		"a Pod without requests does not":   {corev1.PodSpec{Containers: []corev1.Container{{}}}, false},
		"a Pod without containers does not": {corev1.PodSpec{}, false},
		"any container's request counts":    {corev1.PodSpec{Containers: []corev1.Container{{}, asking}}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, policy.NeedsPlacement(&tc.spec)) })
	}
}

func TestProviderTolerationMatchesProviderTaint(t *testing.T) {
	toleration, taint := policy.ProviderToleration(), policy.ProviderTaint()
	assert.True(t, toleration.ToleratesTaint(klog.Background(), &taint, true))
	assert.Equal(t, corev1.TaintEffectNoSchedule, taint.Effect)
	assert.True(t, policy.ToleratesProvider(&corev1.PodSpec{Tolerations: []corev1.Toleration{toleration}}))
}

// ToleratesProvider agrees with Kubernetes' own matching on every toleration that the API server accepts.
func TestToleratesProviderAgreesWithKubernetes(t *testing.T) {
	taint := policy.ProviderTaint()
	tolerated := 0
	for _, key := range []string{"", "virtual-kubelet.io/provider", "other"} {
		for _, operator := range []corev1.TolerationOperator{
			"", corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt,
		} {
			for _, value := range []string{"", "huawei", "azure", "7"} {
				for _, effect := range []corev1.TaintEffect{
					"", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute,
				} {
					if key == "" && operator != corev1.TolerationOpExists {
						continue // Refused by the API server.
					}
					toleration := corev1.Toleration{Key: key, Operator: operator, Value: value, Effect: effect}
					want := toleration.ToleratesTaint(klog.Background(), &taint, false)
					if want {
						tolerated++
					}
					other := corev1.Toleration{Key: "other", Operator: corev1.TolerationOpExists}
					assert.Equal(
						t,
						want,
						policy.ToleratesProvider(&corev1.PodSpec{Tolerations: []corev1.Toleration{other, toleration}}),
						"%+v",
						toleration,
					)
				}
			}
		}
	}
	assert.Positive(t, tolerated)
	assert.False(t, policy.ToleratesProvider(&corev1.PodSpec{}))
}

func TestAvoidsVirtualNodes(t *testing.T) {
	against := corev1.NodeSelectorRequirement{
		Key:      "type",
		Operator: corev1.NodeSelectorOpNotIn,
		Values:   []string{"edge", "virtual-kubelet"},
	}
	other := corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpExists}
	term := func(requirements ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: requirements}
	}
	for name, test := range map[string]struct {
		terms []corev1.NodeSelectorTerm
		want  bool
	}{
		"the one term says so":      {[]corev1.NodeSelectorTerm{term(against)}, true},
		"it says so among others":   {[]corev1.NodeSelectorTerm{term(other, against)}, true},
		"every term says so":        {[]corev1.NodeSelectorTerm{term(against), term(against, other)}, true},
		"one of two terms does not": {[]corev1.NodeSelectorTerm{term(against), term(other)}, false},
		"the opposite": {[]corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{
			Key: "type", Operator: corev1.NodeSelectorOpIn, Values: against.Values,
		})}, false},
		"other values of the same label": {[]corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{
			Key: "type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"edge"},
		})}, false},
		"nothing about the kind of nodes": {[]corev1.NodeSelectorTerm{term(other)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(
				t,
				test.want,
				policy.AvoidsVirtualNodes(&corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: test.terms},
				}}}),
			)
		})
	}
	for name, affinity := range map[string]*corev1.Affinity{
		"no affinity": nil, "no node affinity": {}, "nothing is required": {NodeAffinity: &corev1.NodeAffinity{}},
	} {
		assert.False(t, policy.AvoidsVirtualNodes(&corev1.PodSpec{Affinity: affinity}), name)
	}
}
