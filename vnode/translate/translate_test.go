package translate_test

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

var update = flag.Bool("update", false, "write the golden files")

var owner = identity.Owner{ClusterID: "prod-1", Node: "virtual-node-cci-0"}

// input is the content of testdata/<case>.input.yaml: a Pod, and the configuration that differs from the default.
type input struct {
	Version    policy.CCIVersion `json:"version,omitempty"`
	ClusterDNS []string          `json:"clusterDNS,omitempty"`
	TimeZone   string            `json:"timeZone,omitempty"`
	ResolvConf string            `json:"resolvConf,omitempty"`
	NoTokens   bool              `json:"noTokens,omitempty"`
	APIServer  string            `json:"apiServer,omitempty"`
	// ImagePrefixes are those of the configuration.
	ImagePrefixes  []translate.ImagePrefix `json:"imagePrefixes,omitempty"`
	MatchSnapshots bool                    `json:"matchSnapshots,omitempty"`
	// Allowed are the annotations that the namespace allows.
	Allowed  policy.CloudAnnotations  `json:"allowed,omitempty"`
	Services translate.ServicesConfig `json:"services,omitzero"`
	// ClusterServices are those of the cluster.
	ClusterServices []corev1.Service `json:"clusterServices,omitempty"`
	Pod             corev1.Pod       `json:"pod"`
}

// cluster returns what the translation reads of the cluster.
func (in input) cluster(t testing.TB) translate.Cluster {
	t.Helper()
	cluster := translate.Cluster{Allowed: in.Allowed}
	for i := range in.ClusterServices {
		cluster.Services = append(cluster.Services, &in.ClusterServices[i])
	}
	if in.ResolvConf != "" {
		var err error
		cluster.DNS, err = translate.ParseResolvConf(in.ResolvConf)
		require.NoError(t, err)
	}
	return cluster
}

// output is the content of testdata/<case>.output.yaml.
type output struct {
	Refused  policy.Reason `json:"refused,omitempty"`
	Because  []string      `json:"because,omitempty"`
	Size     string        `json:"size,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Pod      *cci.Pod      `json:"pod,omitempty"`
}

func newTranslator(t testing.TB, in input) *translate.Translator {
	t.Helper()
	translator, err := translate.New(translate.Config{
		Version: in.Version, Owner: owner, NodeIP: "10.0.0.9", DefaultSize: "0.50_1.0",
		ClusterDNS: in.ClusterDNS, ClusterDomain: "cluster.local", TimeZone: in.TimeZone, PullSecret: "imagepull-secret",
		NoTokens: in.NoTokens, APIServer: in.APIServer, ImagePrefixes: in.ImagePrefixes,
		CloudAnnotations: translate.DefaultCloudAnnotations(), MatchSnapshots: in.MatchSnapshots, Services: in.Services,
	})
	require.NoError(t, err)
	return translator
}

func read(t testing.TB, file string) input {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var in input
	require.NoError(t, yaml.UnmarshalStrict(data, &in), file)
	return in
}

func run(t testing.TB, in input) output {
	t.Helper()
	before := in.Pod.DeepCopy()
	result, err := newTranslator(t, in).Pod(&in.Pod, in.cluster(t))
	assert.Equal(t, before, &in.Pod, "the Pod is not changed")
	if err != nil {
		var refused *translate.Refused
		require.ErrorAs(t, err, &refused)
		return output{Refused: refused.Reason, Because: refused.Messages}
	}
	return output{Size: result.Size.String(), Warnings: result.Warnings, Pod: result.Pod}
}

func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".input.yaml")
		t.Run(name, func(t *testing.T) {
			compare(t, filepath.Join("testdata", name+".output.yaml"), run(t, read(t, file)))
		})
	}
}

// compare compares a translation with its golden file. With -update it writes the file.
func compare(t testing.TB, golden string, out output) {
	t.Helper()
	got, err := yaml.Marshal(out)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// cases is the directory of the manifests with which package policy tests its decisions.
const cases = "../../policy/testdata"

// sent returns the translation of the Pod of a case of package policy, as if it were bound to the virtual node. ok is
// false if the Pod may not burst.
func sent(t testing.TB, file string) (out output, ok bool) {
	t.Helper()
	c := policytest.Read(t, file)
	if !c.Decide(t).MayBurst() {
		return output{}, false
	}
	pod := c.Input(t).Pod
	pod.Namespace, pod.UID = cmp.Or(pod.Namespace, metav1.NamespaceDefault), types.UID("uid-of-"+policytest.Name(file))
	return run(t, input{Version: versionOf(c), Pod: *pod}), true
}

func versionOf(c policytest.Case) policy.CCIVersion {
	if c.Config == nil {
		return policy.CCI2
	}
	return c.Config.CCIVersion
}

// TestGoldensOfDecisions compares the translation of each case that may burst with testdata/decisions/<case>.yaml.
// -update writes these files, and removes those of cases that no longer exist or no longer burst.
func TestGoldensOfDecisions(t *testing.T) {
	var want []string
	for _, file := range policytest.Files(t, cases) {
		out, ok := sent(t, file)
		if !ok {
			continue
		}
		golden := filepath.Join("testdata", "decisions", policytest.Name(file)+".yaml")
		want = append(want, golden)
		t.Run(policytest.Name(file), func(t *testing.T) { compare(t, golden, out) })
	}
	got, err := filepath.Glob("testdata/decisions/*.yaml")
	require.NoError(t, err)
	if *update {
		got = slices.DeleteFunc(got, func(golden string) bool {
			return !slices.Contains(want, golden) && os.Remove(golden) == nil
		})
	}
	assert.Equal(t, want, got, "each case that may burst has a golden file, and no other case has one: run with -update")
}

// A cloud that refuses every field that is not in its schema, and requests that differ from limits, must accept every
// translated Pod.
func TestStrictCloudAcceptsEveryTranslatedPod(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) {
		c.Policies = ccisim.Policies{Fields: ccisim.RefuseFields, EqualRequests: true}
	})
	files, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(t, err)
	translated, isCCI1 := map[string]output{}, map[string]bool{}
	for _, file := range files {
		in := read(t, file)
		translated[file], isCCI1[file] = run(t, in), in.Version == policy.CCI1
	}
	for _, file := range policytest.Files(t, cases) {
		if out, ok := sent(t, file); ok {
			translated[file], isCCI1[file] = out, versionOf(policytest.Read(t, file)) == policy.CCI1
		}
	}
	first := cloud.In(t, policy.CCI1)
	first.CreateCloudNamespace(t)
	accepted := map[bool]int{}
	for file, out := range translated {
		if out.Refused != "" {
			continue
		}
		in := cloud
		if isCCI1[file] {
			in = first
		}
		created, err := in.Client.CreatePod(t.Context(), cloudtest.Namespace, out.Pod)
		if assert.NoError(t, err, file) {
			accepted[isCCI1[file]]++
			if !isCCI1[file] {
				assert.Equal(t, out.Size, created.Annotations[cci.SizeAnnotation],
					"the chosen size is the size that is billed: %s", file)
			}
		}
	}
	assert.Positive(t, accepted[false])
	assert.Greater(t, accepted[true], 3)
}

// References and Pod compute the names of the objects independently. They must agree.
func TestReferencesMatchTheCloudPod(t *testing.T) {
	files, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(t, err)
	seen := 0
	for _, file := range files {
		in := read(t, file)
		out := run(t, in)
		if out.Refused != "" {
			continue
		}
		var want []cci.Object
		for _, ref := range newTranslator(t, in).References(&in.Pod) {
			kind := cci.SecretObject
			switch ref.Kind {
			case identity.MirrorConfigMap:
				kind = cci.ConfigMapObject
			case identity.MirrorClaim:
				kind = cci.ClaimObject
			}
			want = append(want, cci.Object{Kind: kind, Name: owner.MirrorName(ref.Mirror)})
		}
		want = append(want, cci.Object{Kind: cci.SecretObject, Name: "imagepull-secret"})
		assert.ElementsMatch(t, want, out.Pod.Spec.Objects(), file)
		seen += len(want)
	}
	assert.Greater(t, seen, 10)
}

func TestReferencesToOneObjectAreMerged(t *testing.T) {
	in := read(t, "testdata/references-needed.input.yaml")
	c := &in.Pod.Spec.Containers[0]
	b := corev1.LocalObjectReference{Name: "b"}
	optional := &corev1.SecretKeySelector{LocalObjectReference: b, Key: "maybe", Optional: new(true)}
	again := &corev1.SecretKeySelector{LocalObjectReference: b, Key: "other"}
	c.Env = append(c.Env, corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: optional}},
		corev1.EnvVar{Name: "Y", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: again}})
	for _, ref := range newTranslator(t, in).References(&in.Pod) {
		switch ref.Name {
		case "b":
			assert.False(t, ref.Optional, "one of three references requires it")
			assert.Equal(t, []string{"k", "other"}, ref.Keys)
		case "registry":
			assert.True(t, ref.Optional, "images are pulled without it, as on local nodes")
		case "web":
			assert.Equal(t, identity.MirrorToken, ref.Kind)
			assert.Len(t, ref.Tokens, 2)
		}
	}
}

// The arithmetic of Quantity takes minutes for such quantities.
func TestExtremeQuantitiesAreRefusedQuickly(t *testing.T) {
	for _, name := range []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	} {
		extreme := corev1.ResourceList{name: resource.MustParse("1e2000000000")}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "uid-1"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "c", Image: "nginx", Resources: corev1.ResourceRequirements{Requests: extreme, Limits: extreme},
			}}},
		}
		for _, field := range []string{"limits.", "requests."} {
			selector := &corev1.ResourceFieldSelector{Resource: field + string(name), Divisor: resource.MustParse("1m")}
			pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env,
				corev1.EnvVar{Name: "A", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: selector}})
		}
		begin := time.Now()
		_, err := newTranslator(t, input{}).Pod(pod, translate.Cluster{})
		assert.Error(t, err, name)
		assert.Less(t, time.Since(begin), 10*time.Second, name)
	}
}

func TestTranslatedPodHasAnOwner(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "uid-1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
	result, err := newTranslator(t, input{}).Pod(pod, translate.Cluster{})
	require.NoError(t, err)
	key, ours := owner.Owns(result.Pod)
	assert.True(t, ours)
	assert.Equal(t, identity.KeyOf(pod), key)

	for name, other := range map[string]identity.Owner{
		"another cluster's node of the same name": {ClusterID: "prod-2", Node: owner.Node},
		"another node of the cluster":             {ClusterID: owner.ClusterID, Node: "virtual-node-cci-1"},
	} {
		_, ours := other.Owns(result.Pod)
		assert.False(t, ours, name)
		assert.NotEqual(t, owner.Selector(), other.Selector(), name)
	}
	_, ours = owner.Owns(&cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: "cci-imagesnapshot-1", Labels: result.Pod.Labels}})
	assert.False(t, ours, "labels alone do not prove that a Pod is ours")
}

func TestParseResolvConf(t *testing.T) {
	cases := map[string]struct {
		text    string
		want    *corev1.PodDNSConfig
		wantErr []string
	}{
		"the example of TKE Resilience": {
			"nameserver 4.4.4.4\nnameserver 8.8.8.8\n",
			&corev1.PodDNSConfig{Nameservers: []string{"4.4.4.4", "8.8.8.8"}}, nil,
		},
		"all kinds of lines": {
			"; comment\n# comment\nnameserver 4.4.4.4 # the first\nsearch a.example b.example\noptions ndots:2 rotate\n",
			&corev1.PodDNSConfig{
				Nameservers: []string{"4.4.4.4"}, Searches: []string{"a.example", "b.example"},
				Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "rotate"}},
			},
			nil,
		},
		"all errors are reported": {
			"nameserver x\nnamesrver 1.1.1.1\n", nil, []string{`invalid value "x"`, `invalid line "namesrver"`, "0 lines"},
		},
		"too many name servers": {strings.Repeat("nameserver 1.1.1.1\n", 4), nil, []string{"4 lines"}},
		"an empty text":         {"", nil, []string{"0 lines"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translate.ParseResolvConf(tc.text)
			for _, text := range tc.wantErr {
				assert.ErrorContains(t, err, text)
			}
			if tc.wantErr == nil {
				require.NoError(t, err)
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 1.1.1.1\noptions a:b:c :")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := translate.ParseResolvConf(text)
		assert.True(t, (config == nil) != (err == nil))
	})
}

func TestAllErrorsOfTheConfigurationAreReported(t *testing.T) {
	_, err := translate.New(translate.Config{
		ClusterDNS: []string{"dns"}, ClusterDomain: "A", TimeZone: "Nowhere", APIServer: "host",
		ImagePrefixes:    []translate.ImagePrefix{{To: "registry/"}},
		Services:         translate.ServicesConfig{Mode: "sidecar"},
		CloudAnnotations: policy.CloudAnnotations{"yangtse.io/pod-with-eip", "spillway.io/pod-uid"},
	})
	for _, text := range []string{
		`pods.clusterDNS[0]: Invalid value: "dns"`, `pods.clusterDomain: Invalid value: "A"`,
		`pods.timeZone: Invalid value: "Nowhere"`, `pods.apiServer: Invalid value: "host"`, "pods.imagePrefixes[0].from",
		`pods.services: Unsupported value: "sidecar": supported values: "off", "routed", "proxy", "kube-proxy"`,
		`pods.cloudAnnotations[1]: Invalid value: "spillway.io/pod-uid"`,
	} {
		assert.ErrorContains(t, err, text)
	}
}

func TestSizeOf(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		want        string
	}{
		"of CCI 2.0": {map[string]string{policy.FlavorAnnotation: "2.00_4.0"}, "2.00_4.0"},
		"of CCI 1.0": {map[string]string{policy.CloudSizeAnnotation: "0.25_1.0"}, "0.25_1.0"},
		"a user cannot write another size": {
			map[string]string{policy.FlavorAnnotation: "2.00_4.0", policy.CloudSizeAnnotation: "9"}, "2.00_4.0",
		},
		"with a type of instance": {
			map[string]string{policy.FlavorAnnotation: "2.00_4.0", "resource.cci.io/instance-type": "general-computing-lite"},
			"2.00_4.0 general-computing-lite",
		},
		"without a type that does not exist": {
			map[string]string{policy.FlavorAnnotation: "2.00_4.0", "resource.cci.io/instance-type": "call 555-1234"},
			"2.00_4.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, translate.SizeOf(&cci.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations}}))
		})
	}
}
