package chart

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/webhook"
)

// registrations is a template of the chart that is generated from Go.
const registrations = "../../charts/spillway/templates/admission/registrations.yaml"

// TestTheRegistrationsAreThoseOfTheProgram checks that the chart registers what the program serves. With -update it
// writes the template.
func TestTheRegistrationsAreThoseOfTheProgram(t *testing.T) {
	const namespace = "{{ .Release.Namespace }}"
	client := admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{
			Namespace: namespace, Name: "spillway-admission", Port: new(int32(443)),
		},
	}
	labels := map[string]string{
		"app.kubernetes.io/name":       "spillway",
		"app.kubernetes.io/instance":   "{{ .Release.Name }}",
		"app.kubernetes.io/managed-by": "{{ .Release.Service }}",
		"app.kubernetes.io/version":    "{{ .Chart.AppVersion }}",
		"app.kubernetes.io/component":  "admission",
		"helm.sh/chart":                "{{ .Chart.Name }}-{{ .Chart.Version }}",
	}
	mutating := webhook.Registration(client, metav1.NamespaceSystem, namespace)
	validating := webhook.ValidatingRegistration(client, namespace, metav1.NamespaceSystem, namespace)
	mutating.Labels, validating.Labels = labels, labels
	written := bytes.NewBufferString("# Generated from admission/webhook by " +
		"go test ./test/chart -run TestTheRegistrations -update. Admission adds its CA\n" +
		"# (caBundle) at run time. Upgrades keep it, because it is not set here.\n")
	for _, registration := range []any{mutating, validating} {
		content, err := yaml.Marshal(registration)
		require.NoError(t, err)
		text := readable(string(content))
		assert.YAMLEq(t, string(content), text)
		written.WriteString("---\n")
		written.WriteString(text)
	}
	if *update {
		require.NoError(t, os.WriteFile(registrations, written.Bytes(), 0o644))
	}
	kept, err := os.ReadFile(registrations)
	require.NoError(t, err)
	assert.Equal(t, written.String(), string(kept), "run go test ./test/chart -run TestTheRegistrations -update")
}

// readable breaks the lines of the expressions: most are longer than a page is wide. In a double-quoted scalar of
// YAML, a backslash before a line break joins the lines.
func readable(registration string) string {
	const width = 100
	expression := regexp.MustCompile(`(?m)^( *)- expression: ((?:.*\n)+?) +name: `)
	return expression.ReplaceAllStringFunc(registration, func(found string) string {
		indent := found[:strings.Index(found, "-")]
		var condition []struct{ Expression string }
		end := strings.LastIndex(found, "\n") + 1
		if err := yaml.Unmarshal([]byte(found[:end]), &condition); err != nil || len(condition) != 1 {
			return found
		}
		var out strings.Builder
		out.WriteString(indent + "- expression: ")
		rest := strconv.Quote(condition[0].Expression)
		for len(rest) > width {
			cut := strings.LastIndexByte(rest[:width], ' ') + 1 // The space stays: no line can begin with one.
			if cut == 0 {
				cut = width
			}
			for rest[cut-1] == '\\' { // Not within an escape.
				cut--
			}
			out.WriteString(rest[:cut] + "\\\n" + indent + "    ")
			rest = rest[cut:]
		}
		return out.String() + rest + "\n" + found[end:]
	})
}
