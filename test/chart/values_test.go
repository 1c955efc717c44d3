package chart

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
)

func TestInvalidValuesAreRefused(t *testing.T) {
	cases := map[string]struct {
		set  string
		want string
	}{
		"a cluster ID that is too long": {"clusterID=seventeen-letters", "at '/clusterID': maxLength: got 17, want 16"},
		"a cluster ID with a space": {"clusterID=my cluster",
			"at '/clusterID': 'my cluster' does not match pattern"},
		"a misspelt value": {"vnode.replica=2",
			"at '/vnode': additional properties 'replica' not allowed"},
		"a misspelt section":           {"admision.replicas=2", "at '': additional properties 'admision' not allowed"},
		"one subnet instead of a list": {"cloud.subnetIDs=5d1e", "at '/cloud/subnetIDs': got string, want array"},
		"a subnet that is no ID": {
			"cloud.subnetIDs={10.0.0.0/24}", "at '/cloud/subnetIDs/0': '10.0.0.0/24' does not match pattern",
		},
		"a subnet's ID as its range": {
			"cloud.podCIDRs={5d1e}", "at '/cloud/podCIDRs/0': '5d1e' does not match pattern",
		},
		"a positive deletion cost": {
			"admission.deletionCost=1", "at '/admission/deletionCost': maximum: got 1, want 0",
		},
		"a kind of owners without a version": {
			"admission.ownerKinds[0].group=argoproj.io,admission.ownerKinds[0].resource=rollouts," +
				"admission.ownerKinds[0].kind=Rollout",
			"at '/admission/ownerKinds/0': missing property 'version'",
		},
		"a kind of Kubernetes as a further kind of owners": {
			"admission.ownerKinds[0].group=apps,admission.ownerKinds[0].version=v1," +
				"admission.ownerKinds[0].resource=deployments,admission.ownerKinds[0].kind=Deployment",
			"at '/admission/ownerKinds/0/group': 'not' failed",
		},
		"a mode of Services that does not exist": {
			"vnode.pods.services=sidecar",
			"at '/vnode/pods/services': value must be one of 'off', 'routed', 'proxy', 'kube-proxy'",
		},
		"Services by a sidecar without name servers": {
			"vnode.pods.services=proxy", "vnode.pods.clusterDNS or vnode.pods.proxy.nameservers: must not be empty",
		},
		"routed Services without a DNS": {
			"vnode.pods.services=routed", "vnode.pods.clusterDNS: must not be empty with vnode.pods.services routed",
		},
		"kube-proxy without an image": {
			"vnode.pods.services=kube-proxy,vnode.pods.clusterDNS={10.96.0.10}",
			"vnode.pods.kubeProxy.image: must not be",
		},
		"a malformed region": {"cloud.region=Beijing 4", "at '/cloud/region': 'Beijing 4' does not match pattern"},
		"an unknown mode of the scheduler": {
			"scheduler.mode=plugin", "at '/scheduler/mode': value must be one of 'sidecar', 'service'",
		},
		"an unknown value of the switch": {
			"eksConfig.autoScaleEKS=maybe",
			"at '/eksConfig/autoScaleEKS': value must be one of 'true', 'false', 'unset'",
		},
		"a malformed quantity": {
			"vnode.resources.requests.memory=much",
			"at '/vnode/resources/requests/memory': 'much' does not match pattern",
		},
		"a malformed capacity": {"vnode.capacity.cpu=all",
			"at '/vnode/capacity/cpu': 'all' does not match pattern"},
		"a duration without a unit": {"vnode.soldOut.lock=30", "at '/vnode/soldOut/lock': got number, want string"},
		"a number as an image of the probe": {
			"vnode.soldOut.probeImage=1", "at '/vnode/soldOut/probeImage': got number, want string",
		},
		"a sign as a currency": {"prices.currency=¥", "at '/prices/currency': '¥' does not match pattern"},
		"a price that is no decimal": {
			"prices.generalComputing.gibHour=60m",
			"at '/prices/generalComputing/gibHour': '60m' does not match pattern",
		},
		"a price without a currency": {
			"prices.generalComputing.gibHour=0.1", "prices.currency: must not be empty if a price is set: such as CNY",
		},
		"a currency without prices": {
			"prices.currency=CNY", "prices.generalComputing: must have coreHour and gibHour if prices.currency is set",
		},
		"half of the prices of lite": {
			"prices.generalComputingLite.gibHour=0.1",
			"prices.generalComputingLite: must have both coreHour and gibHour",
		},
		"no replica": {"admission.replicas=0", "at '/admission/replicas': minimum: got 0, want 1"},
		"a URL with a path": {
			"cloud.endpoint=https://cci.example/api",
			"at '/cloud/endpoint': 'https://cci.example/api' does not match pattern",
		},
		"an issuer of tokens without TLS": {
			"cloud.iamEndpoint=http://iam.example",
			"at '/cloud/iamEndpoint': 'http://iam.example' does not match pattern",
		},
		"a malformed digest": {
			"image.digests.vnode=sha256:12", "at '/image/digests/vnode': 'sha256:12' does not match pattern",
		},
		"a digest of an unknown image": {
			"image.digests.node=sha256:12", "at '/image/digests': additional properties 'node' not allowed",
		},
		"a malformed network": {
			"networkPolicies.apiServerCIDRs={10.0.0.1}",
			"at '/networkPolicies/apiServerCIDRs/0': '10.0.0.1' does not match pattern",
		},
		"a peer of an unknown kind": {
			"networkPolicies.metricsPeers[0].namespace=monitoring",
			"at '/networkPolicies/metricsPeers/0': additional properties 'namespace' not allowed",
		},
		"no API server to connect to": {
			"networkPolicies.restrictEgress=true",
			"networkPolicies.apiServerCIDRs: must not be empty with networkPolicies.restrictEgress",
		},
		"no collector to connect to": {
			"networkPolicies.restrictEgress=true,networkPolicies.apiServerCIDRs={10.0.0.1/32}," +
				"tracing.endpoint=http://collector:4317",
			"networkPolicies.collectorPeers: must not be empty with networkPolicies.restrictEgress and " +
				"tracing.endpoint",
		},
		"a collector without a scheme": {
			"tracing.endpoint=collector:4317", "at '/tracing/endpoint': 'collector:4317' does not match pattern",
		},
		"a tag that is none":    {"image.tag=a b", "at '/image/tag': 'a b' does not match pattern"},
		"an image that is none": {"image.registry=a b", "at '/image/registry': 'a b' does not match pattern"},
		"a CA that is no certificate": {"vnode.clientCA=ca.crt",
			"at '/vnode/clientCA': 'ca.crt' does not match pattern"},
		"a Secret and an access key": {
			"credentials.accessKey=k", "credentials.existingSecret: must be empty if accessKey or secretKey is set",
		},
		"claims that the virtual node does not carry": {
			"vnode.pods.claims=false", "policy.volumeKinds: must be empty ([]) with vnode.pods.claims false",
		},
		"three extenders": {
			"scheduler.mode=service,scheduler.replicas=3",
			"scheduler.replicas: must be 1 or 2 with scheduler.mode service",
		},
		"the name of the cluster's scheduler": {
			"scheduler.otherNames={default-scheduler}",
			"scheduler.name, scheduler.otherNames: must not be default-scheduler, " +
				"the name of the cluster's own scheduler",
		},
		"a test in Spillway's namespace": {
			"test.namespace=spillway-system",
			`namespace "spillway-system": must be a namespace that only Spillway uses`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := template(spillway, values("--set", tc.set)...)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("no values: all errors at once", func(t *testing.T) {
		_, err := template(spillway)
		for _, message := range []string{
			"clusterID: must not be empty", "cloud.region: must not be empty: such as cn-north-4",
			"cloud.projectID: must not be empty", "cloud.subnetIDs: must contain at least one",
			"cloud.securityGroupIDs: must contain at least one",
			"credentials: must have existingSecret, or accessKey and secretKey",
			"with simulator.enabled=true none of these is required",
		} {
			assert.ErrorContains(t, err, message)
		}
	})
	t.Run("an old cluster", func(t *testing.T) {
		_, err := template(spillway, simulated("--kube-version", "1.29.9")...)
		assert.ErrorContains(t, err,
			"chart requires kubeVersion: >=1.30.0-0 which is incompatible with Kubernetes v1.29.9")
	})
	t.Run("placeholders of high priority", func(t *testing.T) {
		_, err := template(buffer, "--set", "lowPriorityClass.value=1,replicas=3,resources.requests.cpu=lots")
		for _, message := range []string{
			"at '/lowPriorityClass/value': maximum: got 1, want -1", "additional properties 'replicas' not allowed",
			"'lots' does not match pattern",
		} {
			assert.ErrorContains(t, err, message)
		}
	})
}

// The programs would not start with such an entry.
func TestWhatAVirtualNodeIsCannotBeIgnored(t *testing.T) {
	for entry, want := range map[string]string{
		policy.NodeTypeLabel + "=virtual-kubelet": "policy.ignoredNodeSelectors: must not have type: it says",
		policy.TrustedNodeLabel:                   "must not have " + policy.TrustedNodeLabel,
		policy.CloudClusterKey + "=prod":          "must not have " + policy.CloudClusterKey,
		corev1.LabelOSStable + "=linux":           "must not have " + corev1.LabelOSStable,
		corev1.LabelArchStable:                    "must not have " + corev1.LabelArchStable,
		"types=a":                                 "",
	} {
		config := policy.DefaultConfig()
		config.IgnoredNodeSelectors = []string{entry}
		refused := config.Validate(field.NewPath("policy")).ToAggregate()
		entries := `policy.ignoredNodeSelectors=["disktype=ssd","` + entry + `"]`
		_, err := template(spillway, values("--set-json", entries)...)
		if want == "" {
			require.NoError(t, refused)
			assert.NoError(t, err)
			continue
		}
		require.Error(t, refused, entry)
		assert.ErrorContains(t, err, want)
	}
}

// schema is the part of a JSON schema that lists the fields.
type schema struct {
	Properties map[string]schema `json:"properties"`
}

// TestSectionsHaveTheFieldsOfTheProgram checks that the schema accepts exactly the fields that vnode accepts in the
// sections that are passed to it.
func TestSectionsHaveTheFieldsOfTheProgram(t *testing.T) {
	var values schema
	content, err := os.ReadFile(spillway + "/values.schema.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &values))
	var defaults map[string]map[string]any
	content, err = os.ReadFile("../../vnode/config/testdata/defaults.yaml")
	require.NoError(t, err)
	sections := map[string]any{}
	require.NoError(t, yaml.Unmarshal(content, &sections))
	content, err = yaml.Marshal(map[string]any{
		"cci": sections["cci"], "node": sections["node"], "pods": sections["pods"], "policy": sections["policy"],
		"prices": sections["prices"], "soldOut": sections["soldOut"],
	})
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &defaults))

	vnode, cloud := values.Properties["vnode"].Properties, values.Properties["cloud"].Properties
	cases := map[string]struct {
		section map[string]schema
		// elsewhere lists fields that the chart sets itself, or that have a value of their own.
		elsewhere []string
		of        string
	}{
		"pods":     {vnode["pods"].Properties, nil, "pods"},
		"soldOut":  {vnode["soldOut"].Properties, nil, "soldOut"},
		"capacity": {vnode["capacity"].Properties, []string{"name", "ip", "zone", "labels", "taints"}, "node"},
		"policy":   {values.Properties["policy"].Properties, nil, "policy"},
		"prices":   {values.Properties["prices"].Properties, nil, "prices"},
		"cloud": {cloud["settings"].Properties, []string{
			"region", "projectID", "domainID", "namespace", "subnetIDs", "podCIDRs", "securityGroupIDs", "endpoint",
			"iamEndpoint", "allowHTTP", "credentialsFrom", "credentialsFile",
		}, "cci"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := append(slices.Collect(maps.Keys(tc.section)), tc.elsewhere...)
			assert.ElementsMatch(t, slices.Collect(maps.Keys(defaults[tc.of])), got)
		})
	}
}
