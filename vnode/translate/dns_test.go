package translate_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// CCI documents fewer search domains than Kubernetes allows. The Pod runs with those, and an Event names the others.
func TestSearchDomainsBeyondThoseOfTheCloudAreLeftOut(t *testing.T) {
	domains := func(from, to int) (all []string) {
		for i := from; i <= to; i++ {
			all = append(all, fmt.Sprintf("d%d", i))
		}
		return all
	}
	cluster := []string{"ns.svc.cluster.local", "svc.cluster.local"}
	for name, test := range map[string]struct {
		version   policy.CCIVersion
		dnsPolicy corev1.DNSPolicy
		own, node []string
		want      []string
		left      string
	}{
		"those of the cluster alone": {
			dnsPolicy: corev1.DNSClusterFirst, want: []string{cluster[0], cluster[1], "cluster.local"},
		},
		"one more takes the place of the cluster's domain": {
			dnsPolicy: corev1.DNSClusterFirst, own: domains(1, 1), want: []string{cluster[0], cluster[1], "d1"},
			left: "no more than 3: cluster.local",
		},
		"the last ones are left out": {
			dnsPolicy: corev1.DNSClusterFirst, own: domains(1, 3), want: []string{cluster[0], cluster[1], "d1"},
			left: "no more than 3: cluster.local, d2, d3",
		},
		"CCI 1.0 takes six": {
			version: policy.CCI1, dnsPolicy: corev1.DNSClusterFirst, own: domains(1, 3),
			want: []string{cluster[0], cluster[1], "cluster.local", "d1", "d2", "d3"},
		},
		"CCI 1.0 takes no more than six": {
			version: policy.CCI1, dnsPolicy: corev1.DNSClusterFirst, own: domains(1, 5),
			want: []string{cluster[0], cluster[1], "d1", "d2", "d3", "d4"}, left: "no more than 6: cluster.local, d5",
		},
		"without the DNS of the cluster": {
			dnsPolicy: corev1.DNSDefault, own: domains(1, 4), want: domains(1, 3), left: "no more than 3: d4",
		},
		"with a DNS of the Pod": {
			dnsPolicy: corev1.DNSNone, own: domains(1, 5), want: domains(1, 3), left: "no more than 3: d4, d5",
		},
		"with a DNS of the Pod, whose order counts": {
			dnsPolicy: corev1.DNSNone, own: []string{"cluster.local", "d1", "d2", "d3"},
			want: []string{"cluster.local", "d1", "d2"}, left: "no more than 3: d3",
		},
		"with a DNS of the node": {
			dnsPolicy: corev1.DNSClusterFirst, node: domains(1, 4), want: domains(1, 3), left: "no more than 3: d4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				DNSPolicy: test.dnsPolicy, Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
				DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.1"}, Searches: test.own},
			}}
			pod.Namespace, pod.Name, pod.UID = "ns", "web", "u1"
			var nodeDNS *corev1.PodDNSConfig
			if test.node != nil {
				nodeDNS = &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.2"}, Searches: test.node}
			}
			given := pod.DeepCopy()
			translator := newTranslator(t, input{Version: test.version, ClusterDNS: []string{"10.0.0.10"}})
			result, err := translator.Pod(pod, translate.Cluster{DNS: nodeDNS})
			require.NoError(t, err)
			assert.Equal(t, test.want, result.Pod.Spec.DNSConfig.Searches)
			assert.Equal(t, given, pod, "the Pod is not changed")
			if test.left == "" {
				assert.Empty(t, result.Warnings)
				return
			}
			require.Len(t, result.Warnings, 1)
			assert.Contains(t, result.Warnings[0], test.left)
		})
	}
}
