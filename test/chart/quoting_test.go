package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// placeholder stands for a value in a rendered chart. It is not in the charts otherwise.
const placeholder = "qzx"

// awkward are strings that YAML reads differently unless they are quoted.
var awkward = map[string]string{
	"a boolean":     "true",
	"another":       "off",
	"null":          "null",
	"a number":      "1e3",
	"an octal":      "0o17",
	"a mapping":     "a: b",
	"a comment":     "a #x",
	"only comment":  "#x",
	"a flow":        "{a: [b",
	"an alias":      "*x",
	"a tag":         "!x",
	"quotes":        `a"b`,
	"a backslash":   `a\b`,
	"two lines":     "a\nb: c",
	"spaces around": " a ",
}

// withStrings returns the values with every string replaced, apart from those that choose between variants.
func withStrings(value any, path, with string) any {
	switch v := value.(type) {
	case map[string]any:
		replaced := map[string]any{}
		for key, field := range v {
			replaced[key] = withStrings(field, strings.TrimPrefix(path+"."+key, "."), with)
		}
		return replaced
	case []any:
		replaced := make([]any, len(v))
		for i := range v {
			replaced[i] = withStrings(v[i], path, with)
		}
		return replaced
	case string:
		if slices.Contains(variants, path) {
			return v
		}
		return with
	}
	return value
}

// documents returns all objects of a rendered chart, and the content of the YAML files in ConfigMaps and Secrets.
func documents(t *testing.T, rendered string) (list []any) {
	t.Helper()
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		var object map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object), document)
		if len(object) == 0 {
			continue
		}
		list = append(list, object)
		for _, field := range []string{"data", "stringData"} {
			files, _ := object[field].(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if strings.HasSuffix(name, ".yaml") {
					var content any
					require.NoError(t, yaml.UnmarshalStrict([]byte(files[name].(string)), &content), files[name])
					files[name] = content
				}
			}
		}
	}
	return list
}

// fill returns a document with the placeholder replaced in every string.
func fill(value any, with string) any {
	switch v := value.(type) {
	case map[string]any:
		filled := map[string]any{}
		for key := range v {
			filled[key] = fill(v[key], with)
		}
		return filled
	case []any:
		filled := make([]any, len(v))
		for i := range v {
			filled[i] = fill(v[i], with)
		}
		return filled
	case string:
		return strings.ReplaceAll(v, placeholder, with)
	}
	return value
}

// variants are values that choose between variants of the chart, or that it computes with: keys of taints are part of
// expressions, and the schema restricts them to the characters of a key.
var variants = []string{
	"scheduler.mode", "vnode.certificate", "vnode.name", "vnode.identity", "credentials.from", "eksConfig.autoScaleEKS",
	"vnode.nodes.taints.key",
}

// generated matches what depends on other values, or differs in each rendering.
var generated = regexp.MustCompile(`(?m)^( +(?:checksum/config|ca[.]crt|tls[.]crt|tls[.]key)): .*$`)

// render renders a chart without the schema of its values, and parses the result.
func render(t *testing.T, chart string, args ...string) []any {
	t.Helper()
	out, err := template(chart, append([]string{"--skip-schema-validation"}, args...)...)
	require.NoError(t, err)
	return documents(t, generated.ReplaceAllString(out, "$1: generated"))
}

// assertSame compares as text, because that shows only the lines that differ. In YAML, strings differ from other types.
func assertSame(t *testing.T, want, got any) {
	t.Helper()
	wanted, err := yaml.Marshal(want)
	require.NoError(t, err)
	found, err := yaml.Marshal(got)
	require.NoError(t, err)
	assert.Equal(t, string(wanted), string(found))
}

// TestStringsArriveAsTheyAre renders the charts with strings that YAML could read as something else, in every value.
// The objects must be those of a rendering with harmless strings, with these replaced. The schema of the values, which
// refuses most of these strings, is not used.
func TestStringsArriveAsTheyAre(t *testing.T) {
	cases := map[string]struct {
		chart, values string
		args          []string
	}{
		"the extender next to the scheduler": {spillway, "testdata/every-string.yaml", nil},
		"the extender as a service": {
			spillway, "testdata/every-string.yaml", []string{"--set", "scheduler.mode=service"},
		},
		"placeholders": {buffer, "testdata/every-placeholder.yaml", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(tc.values)
			require.NoError(t, err)
			var given map[string]any
			require.NoError(t, yaml.UnmarshalStrict(content, &given))
			with := func(t *testing.T, text string) []any {
				t.Helper()
				replaced, err := json.Marshal(withStrings(given, "", text)) // JSON is YAML that quotes every string.
				require.NoError(t, err)
				file := filepath.Join(t.TempDir(), "values.yaml")
				require.NoError(t, os.WriteFile(file, replaced, 0o600))
				return render(t, tc.chart, append([]string{"-f", file}, tc.args...)...)
			}
			harmless := with(t, placeholder)
			for what, text := range awkward {
				t.Run(what, func(t *testing.T) { assertSame(t, fill(harmless, text), with(t, text)) })
			}
		})
	}
}

// TestNamesArriveAsTheyAre does the same with names of the release and of its namespace.
func TestNamesArriveAsTheyAre(t *testing.T) {
	for _, chart := range []string{spillway, buffer} {
		with := func(name string) []any {
			args := []string{"--name-template", name, "--namespace", name}
			if chart == spillway {
				args = append(args, "-f", "testdata/every-string.yaml")
			}
			return render(t, chart, args...)
		}
		harmless := with(placeholder)
		for _, name := range []string{"true", "null", "off", "1e3", "0o17", "123"} {
			assertSame(t, fill(harmless, name), with(name))
		}
	}
}

// TestTheStringsOfAllValuesAreTested checks that the values of these tests have every string of the charts' values.
func TestTheStringsOfAllValuesAreTested(t *testing.T) {
	for chart, file := range map[string]string{
		spillway: "testdata/every-string.yaml", buffer: "testdata/every-placeholder.yaml",
	} {
		var defaults, tested map[string]any
		for path, values := range map[string]*map[string]any{chart + "/values.yaml": &defaults, file: &tested} {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, yaml.UnmarshalStrict(content, values))
		}
		want := stringPaths(defaults, "")
		want = slices.DeleteFunc(want, func(path string) bool {
			// A Secret and the keys in it exclude each other. All resources are rendered in one way.
			return path == "credentials.existingSecret" || path == "extender.service.existingSecret" ||
				strings.Contains(path, "resources")
		})
		assert.Subset(t, stringPaths(tested, ""), want)
	}
}

// stringPaths returns the paths of all strings, except for those of lists and of free maps.
func stringPaths(values map[string]any, path string) (paths []string) {
	for key, value := range values {
		at := strings.TrimPrefix(path+"."+key, ".")
		switch v := value.(type) {
		case map[string]any:
			if strings.HasSuffix(at, "labels") || strings.HasSuffix(at, "nodeSelector") {
				continue
			}
			paths = append(paths, stringPaths(v, at)...)
		case string:
			paths = append(paths, at)
		}
	}
	return paths
}
