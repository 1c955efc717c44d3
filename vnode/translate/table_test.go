package translate_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/page/pagetest"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// TestTranslationPage compares the tables of docs/translation.md with Table. With -update it writes them. The rest of
// the page is written by hand.
func TestTranslationPage(t *testing.T) {
	pagetest.Check(t, "../../docs/translation.md", "./vnode/translate -run TestTranslationPage", tables(), *update)
}

func tables() string {
	var text strings.Builder
	for _, section := range translate.Table() {
		fmt.Fprintf(&text, "\n### %s\n\n| Field | In the cloud | Notes |\n|---|---|---|\n", section.Type)
		for _, field := range section.Fields {
			fmt.Fprintf(&text, "| `%s` | %s | %s |\n", field.Name, field.Handling, field.Note)
		}
	}
	return text.String()
}

// step is a field on the path from a Pod's spec to the field under test.
type step struct {
	owner string
	field reflect.StructField
	name  string
}

// TestEveryFieldIsHandledAsItsRowSays walks through all types of a Pod's spec. Each field must have a row, and each
// row a field. The translation of a Pod with that field must match the row.
func TestEveryFieldIsHandledAsItsRowSays(t *testing.T) {
	w := &walker{t: t, rows: map[string]map[string]translate.Field{}, visited: map[string]bool{}}
	for _, section := range translate.Table() {
		assert.NotContains(t, w.rows, section.Type)
		w.rows[section.Type] = map[string]translate.Field{}
		for _, field := range section.Fields {
			assert.NotContains(t, w.rows[section.Type], field.Name, section.Type)
			w.rows[section.Type][field.Name] = field
		}
	}
	w.walk(reflect.TypeFor[corev1.PodSpec](), nil)
	for kind, rows := range w.rows {
		for name := range rows {
			assert.True(t, w.visited[kind+"."+name], "%s.%s has a row but is not a field", kind, name)
		}
	}
}

type walker struct {
	t       *testing.T
	rows    map[string]map[string]translate.Field
	visited map[string]bool
}

func (w *walker) walk(kind reflect.Type, path []step) {
	for _, s := range fieldsOf(kind, kind.Name()) {
		here := append(slices.Clone(path), s)
		row, ok := w.rows[s.owner][s.name]
		if !assert.True(w.t, ok, "%s.%s has no row: decide how it is translated", s.owner, s.name) {
			continue
		}
		w.visited[s.owner+"."+s.name] = true
		deeper := element(s.field.Type)
		kept := row.Handling == translate.Copied || row.Handling == translate.Translated
		if kept && isOfTheAPI(deeper) && s.owner+"."+s.name != "PodSpec.resources" {
			w.walk(deeper, here)
			continue
		}
		w.t.Run(describe(here), func(t *testing.T) { checkHandling(t, here, row) })
	}
}

// fieldsOf lists the fields of a struct, including those of embedded structs.
func fieldsOf(kind reflect.Type, owner string) []step {
	var list []step
	for i := range kind.NumField() {
		field := kind.Field(i)
		if field.Anonymous {
			for _, inner := range fieldsOf(field.Type, owner) {
				inner.field.Index = append([]int{i}, inner.field.Index...)
				list = append(list, inner)
			}
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		list = append(list, step{owner, field, name})
	}
	return list
}

func element(kind reflect.Type) reflect.Type {
	for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
		kind = kind.Elem()
	}
	return kind
}

func isOfTheAPI(kind reflect.Type) bool {
	return kind.Kind() == reflect.Struct && kind.PkgPath() == "k8s.io/api/core/v1"
}

func describe(path []step) string {
	var names []string
	for _, s := range path {
		names = append(names, s.name)
	}
	return strings.Join(names, ".")
}

// checkHandling compares the translations of a Pod with the field and of a Pod with everything around the field.
func checkHandling(t *testing.T, path []step, row translate.Field) {
	before, after := basePod(), basePod()
	setField(reflect.ValueOf(&before.Spec).Elem(), path, false)
	setField(reflect.ValueOf(&after.Spec).Elem(), path, true)
	for _, pod := range []*corev1.Pod{before, after} {
		complete(&pod.Spec)
	}
	without, with := translated(t, before), translated(t, after)
	// Only init containers may have a restartPolicy.
	if row.Handling == translate.Unsupported || describe(path) == "containers.restartPolicy" {
		assert.NotEmpty(t, with.refusals, "a Pod with the field must be refused")
		return
	}
	require.Empty(t, with.refusals)
	assert.Subset(t, with.warnings, without.warnings)
	warned := len(with.warnings) > len(without.warnings)
	switch row.Handling {
	case translate.Copied, translate.Translated:
		assert.NotEqual(t, without.pod, with.pod, "the cloud Pod must differ")
	case translate.DroppedWithEvent:
		assert.Equal(t, without.pod, with.pod, "the cloud Pod must not differ")
		assert.True(t, warned, "there must be a warning")
	case translate.Dropped:
		assert.Equal(t, without.pod, with.pod, "the cloud Pod must not differ")
		assert.False(t, warned, "there must be no warning: %v", with.warnings)
	}
}

// complete adds sources to objects that would be refused without a source.
func complete(spec *corev1.PodSpec) {
	if v := &spec.Volumes[0]; v.VolumeSource == (corev1.VolumeSource{}) {
		v.NFS = &corev1.NFSVolumeSource{}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for j := range list[i].EnvFrom {
				if from := &list[i].EnvFrom[j]; from.ConfigMapRef == nil && from.SecretRef == nil {
					from.ConfigMapRef = &corev1.ConfigMapEnvSource{}
				}
			}
		}
	}
}

func basePod() *corev1.Pod {
	container := func(name, cpu string) corev1.Container {
		return corev1.Container{Name: name, Image: "nginx", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)},
		}}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{container("c", "250m"), container("d", "1500m")},
		Volumes:    []corev1.Volume{{Name: "v"}},
	}}
	pod.Namespace, pod.Name, pod.UID = "default", "web", "u1"
	return pod
}

// setField sets the field at the end of the path, or, if set is false, only the structs around it.
func setField(value reflect.Value, path []step, set bool) {
	field := value.FieldByIndex(path[0].field.Index)
	if len(path) == 1 {
		field.SetZero()
		if set {
			field.Set(sample(path[0].owner+"."+path[0].name, field.Type()))
		}
		return
	}
	for field.Kind() == reflect.Pointer || field.Kind() == reflect.Slice {
		if field.Kind() == reflect.Pointer && field.IsNil() {
			field.Set(surrounding(field.Type()))
		}
		if field.Kind() == reflect.Slice && field.Len() == 0 {
			field.Set(reflect.Append(field, surrounding(reflect.PointerTo(field.Type().Elem())).Elem()))
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		} else {
			field = field.Index(0)
		}
	}
	setField(field, path[1:], set)
}

// surrounding returns a new struct with the other fields that it requires.
func surrounding(pointer reflect.Type) reflect.Value {
	known := []any{
		&corev1.EnvVar{Name: "E"}, &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "requests.cpu"},
		&corev1.ObjectFieldSelector{FieldPath: "metadata.name"},
		&corev1.HostPathVolumeSource{Path: policy.LocaltimePath}, &corev1.VolumeMount{Name: "v", MountPath: "/v"},
		&corev1.Container{Name: "init", Image: "nginx"},
		&corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}},
		&corev1.DownwardAPIVolumeFile{Path: "f", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
		&corev1.LocalObjectReference{Name: "imagepull-secret"},
		&corev1.VolumeProjection{},
	}
	for _, one := range known {
		if reflect.TypeOf(one) == pointer {
			return reflect.ValueOf(one)
		}
	}
	return reflect.New(pointer.Elem())
}

// sample returns a value of a field that has an effect. Fields for which not every value has an effect are listed.
func sample(key string, kind reflect.Type) reflect.Value {
	fourCPU := corev1.ResourceList{"cpu": resource.MustParse("4")}
	known := map[string]any{
		"PodSpec.hostUsers":                               new(false),
		"PodSpec.enableServiceLinks":                      new(false),
		"PodSpec.dnsPolicy":                               corev1.DNSDefault,
		"HostPathVolumeSource.path":                       policy.LocaltimePath,
		"PodSpec.resources":                               &corev1.ResourceRequirements{Requests: fourCPU},
		"PodSpec.overhead":                                fourCPU,
		"PodSecurityContext.supplementalGroupsPolicy":     new(corev1.SupplementalGroupsPolicyStrict),
		"PodSecurityContext.seccompProfile":               &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost},
		"PodSecurityContext.appArmorProfile":              &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost},
		"SecurityContext.seccompProfile":                  &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost},
		"SecurityContext.appArmorProfile":                 &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost},
		"SecurityContext.allowPrivilegeEscalation":        new(false),
		"Container.restartPolicy":                         new(corev1.ContainerRestartPolicyAlways),
		"ResourceRequirements.limits":                     corev1.ResourceList{"cpu": resource.MustParse("1")},
		"ResourceRequirements.requests":                   corev1.ResourceList{"cpu": resource.MustParse("2")},
		"VolumeMount.recursiveReadOnly":                   new(corev1.RecursiveReadOnlyEnabled),
		"VolumeMount.mountPropagation":                    new(corev1.MountPropagationBidirectional),
		"VolumeMount.name":                                "w",
		"EmptyDirVolumeSource.medium":                     corev1.StorageMediumMemory,
		"EmptyDirVolumeSource.sizeLimit":                  new(resource.MustParse("1Gi")),
		"ObjectFieldSelector.fieldPath":                   "metadata.uid",
		"ResourceFieldSelector.resource":                  "limits.cpu",
		"ResourceFieldSelector.containerName":             "d",
		"ResourceFieldSelector.divisor":                   resource.MustParse("1m"),
		"LocalObjectReference.name":                       "own",
		"ServiceAccountTokenProjection.expirationSeconds": new(int64(7200)),
	}
	if value, ok := known[key]; ok {
		return reflect.ValueOf(value).Convert(kind)
	}
	switch kind.Kind() {
	case reflect.Pointer:
		value := reflect.New(kind.Elem())
		value.Elem().Set(sample("", kind.Elem()))
		return value
	case reflect.Slice:
		return reflect.Append(reflect.MakeSlice(kind, 0, 1), sample("", kind.Elem()))
	case reflect.Map:
		value := reflect.MakeMap(kind)
		value.SetMapIndex(sample("", kind.Key()), sample("", kind.Elem()))
		return value
	case reflect.String:
		return reflect.ValueOf("x").Convert(kind)
	case reflect.Bool:
		return reflect.ValueOf(true).Convert(kind)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return reflect.ValueOf(7).Convert(kind)
	}
	if kind == reflect.TypeFor[intstr.IntOrString]() {
		return reflect.ValueOf(intstr.FromString("http"))
	}
	return reflect.New(kind).Elem()
}

// service returns a Service of namespace default.
func service(name, ip string) corev1.Service {
	s := corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
	s.Namespace, s.Name = "default", name
	return s
}

// outcome is the result for a Pod.
type outcome struct {
	pod                string
	warnings, refusals []string
}

// translated applies the rules and then the translation, as vnode does.
func translated(t *testing.T, pod *corev1.Pod) outcome {
	t.Helper()
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	var o outcome
	for _, violation := range rules.Restrictions(policy.Input{Pod: pod}) {
		if violation.Reason != policy.ReasonPersistentVolume { // Package mirror checks the volumes of claims.
			o.refusals = append(o.refusals, violation.Message)
		}
	}
	in := input{
		TimeZone: "Asia/Shanghai", ClusterDNS: []string{"10.0.0.10"},
		Services:        translate.ServicesConfig{Mode: policy.ServicesRouted},
		ClusterServices: []corev1.Service{service("cart", "10.96.3.4")},
	}
	result, err := newTranslator(t, in).Pod(pod, in.cluster(t))
	if err != nil {
		o.refusals = append(o.refusals, err.Error())
		return o
	}
	text, err := json.Marshal(result.Pod)
	require.NoError(t, err)
	o.pod, o.warnings = string(text), result.Warnings
	return o
}
