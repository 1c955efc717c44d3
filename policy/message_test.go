package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func TestSummaryIsBounded(t *testing.T) {
	many := make([]string, 0, 4000)
	for i := range cap(many) {
		many = append(many, fmt.Sprintf("container c%d has containerPort 61000", i))
	}
	for name, tc := range map[string]struct {
		sentences []string
		want      string
	}{
		"none":                          {nil, ""},
		"one":                           {[]string{"a"}, "a"},
		"each sentence once, in order":  {[]string{"b", "a", "b"}, "b; a"},
		"a long sentence leaves room":   {[]string{strings.Repeat("x", 5000), "a"}, strings.Repeat("x", 717) + "…; a"},
		"a character is not cut in two": {[]string{strings.Repeat("é", 5000)}, strings.Repeat("é", 358) + "…"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, policy.Summary(tc.sentences)) })
	}
	text := policy.Summary(many)
	assert.LessOrEqual(t, len(text), policy.MaxMessage)
	assert.Regexp(t, `^container c0 has containerPort 61000; container c1 .*; and 39\d\d more$`, text)
}

func TestMessagesDoNotFormatWhatDoesNotFit(t *testing.T) {
	var m policy.Messages
	formatted := 0
	for range 100_000 {
		m.Add("%s", counted{&formatted})
	}
	assert.Less(t, formatted, 50)
	assert.LessOrEqual(t, len(m.String()), policy.MaxMessage)
}

// counted formats as another text each time, and counts how often.
type counted struct{ times *int }

func (c counted) String() string {
	*c.times++
	return fmt.Sprintf("a sentence of about forty characters %d", *c.times)
}

func FuzzClip(f *testing.F) {
	f.Add("a text", 4)
	f.Add("日本語", 5)
	f.Add("\xff\xfe", 1)
	f.Fuzz(func(t *testing.T, text string, length int) {
		clipped := policy.Clip(text, length)
		assert.LessOrEqual(t, len(clipped), max(length, 0))
		if utf8.ValidString(text) {
			assert.True(t, utf8.ValidString(clipped))
		}
	})
}

// A Pod of a few hundred kilobytes once had a message of the same size, in each place that showed it.
func TestAPodWithThousandsOfFaultsHasAShortMessage(t *testing.T) {
	p, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	for name, pod := range map[string]*corev1.Pod{
		"4,000 reserved ports": podWith(400, func(c *corev1.Container) {
			for range 10 {
				c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: 61000})
			}
		}),
		"variables with long names": podWith(10, func(c *corev1.Container) {
			from := &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{}}
			c.Env = []corev1.EnvVar{{Name: strings.Repeat("V", 20_000), ValueFrom: from}}
		}),
		"restart policies": podWith(2000, func(c *corev1.Container) {
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}),
		"80,000 empty replacements":            replacing("[" + strings.Repeat("{},", 80_000) + "{}]"),
		"a replacement with a field of 200 KB": replacing(`[{"` + strings.Repeat("x", 200_000) + `":1}]`),
		"a replacement of 200 KB":              replacing(strings.Repeat("x", 200_000)),
	} {
		t.Run(name, func(t *testing.T) {
			decision := p.Decide(policy.Input{Pod: pod, Global: policy.SwitchOn})
			assert.Equal(t, policy.PlacementLocalOnly, decision.Placement)
			assert.NotEmpty(t, decision.Message)
			assert.LessOrEqual(t, len(decision.Message), policy.MaxMessage)
			if err := policy.CheckKeys(pod); err != nil {
				assert.Less(t, len(err.Error()), 8<<10)
			}
		})
	}
}

func podWith(containers int, change func(*corev1.Container)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "big"}}
	for i := range containers {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i)}
		change(&c)
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

func replacing(annotation string) *corev1.Pod {
	pod := podWith(1, func(*corev1.Container) {})
	pod.Annotations = map[string]string{policy.HostPathReplacementAnnotation: annotation}
	pod.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"},
	}}}
	return pod
}
