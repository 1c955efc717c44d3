package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseServices(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		want        ServicesMode
		fault       string
	}{
		"no annotation leaves it to the virtual node": {},
		"off":        {annotations: map[string]string{ServicesAnnotation: "off"}, want: ServicesOff},
		"routed":     {annotations: map[string]string{ServicesAnnotation: "routed"}, want: ServicesRouted},
		"proxy":      {annotations: map[string]string{ServicesAnnotation: "proxy"}, want: ServicesProxy},
		"kube-proxy": {annotations: map[string]string{ServicesAnnotation: "kube-proxy"}, want: ServicesKubeProxy},
		"another word": {
			annotations: map[string]string{ServicesAnnotation: "kubeproxy"},
			fault:       `spillway.io/services: invalid value "kubeproxy": must be one of off, routed, proxy, kube-proxy`,
		},
		"an empty value is no mode": {
			annotations: map[string]string{ServicesAnnotation: ""},
			fault:       `spillway.io/services: invalid value "": must be one of off, routed, proxy, kube-proxy`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseServices(test.annotations)
			assert.Equal(t, test.want, got)
			if test.fault == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.fault)
		})
	}
}

func TestParseReservedPorts(t *testing.T) {
	got, err := ParseReservedPorts(nil)
	assert.NoError(t, err)
	assert.Empty(t, got)
	for value, want := range map[string][]int32{
		"80": {80}, "8080, 80,8080": {80, 8080}, "1,65535": {1, 65535},
		strings.TrimSuffix(strings.Repeat("7,", maxReservedPorts), ","): {7},
	} {
		got, err := ParseReservedPorts(map[string]string{ReservedPortsAnnotation: value})
		assert.NoError(t, err, value)
		assert.Equal(t, want, got, value)
	}
	for _, value := range []string{
		"", ",", "80,", "0", "65536", "-1", "http", "80-90", "80;81", strings.Repeat("7,", maxReservedPorts) + "7",
	} {
		got, err := ParseReservedPorts(map[string]string{ReservedPortsAnnotation: value})
		assert.ErrorContains(t, err, `must be a list of at most 100 ports from 1 to 65535, such as "8080,9090"`, value)
		assert.Nil(t, got, value)
	}
}

func FuzzParseReservedPorts(f *testing.F) {
	f.Add("80,443")
	f.Fuzz(func(t *testing.T, value string) {
		ports, err := ParseReservedPorts(map[string]string{ReservedPortsAnnotation: value})
		assert.True(t, (len(ports) == 0) == (err != nil))
		for _, port := range ports {
			assert.True(t, port > 0 && port <= 65535)
		}
	})
}
