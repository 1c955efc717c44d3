package services

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

func TestPodsReachTheProcessesOfTheService(t *testing.T) {
	w := newCluster(t, func(c *Config) { c.Own = "10.0.0.9:10260" })
	w.follow()
	assert.Equal(t, []string{"10.0.0.9:10260"}, w.server.addresses(), "before anything is known")
	slice := w.slice("spillway-system", ServiceName, "a", 0)
	endpoint := func(address string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	slice.Endpoints = []discoveryv1.Endpoint{
		endpoint("10.0.0.9", ptr.To(true)), endpoint("10.0.0.8", nil), endpoint("10.0.0.7", ptr.To(false)),
		endpoint("fd00::1", ptr.To(true)),
	}
	slice.Ports[0].Port = ptr.To(int32(10260))
	w.put(slice)
	w.put(w.slice("shop", ServiceName, "b", 1))
	noPort := w.slice("spillway-system", ServiceName, "c", 1)
	noPort.Ports = nil
	w.put(noPort)
	assert.Equal(t, []string{"10.0.0.9:10260", "10.0.0.8:10260", "[fd00::1]:10260"}, w.server.addresses())
}

func TestPodsReachTheServerAtTheConfiguredAddresses(t *testing.T) {
	want := []string{"lb.example.com:443"}
	w := newCluster(t, func(c *Config) { c.Addresses = want })
	w.follow()
	w.put(w.slice("spillway-system", ServiceName, "a", 1))
	assert.Equal(t, want, w.server.addresses())
	require.NoError(t, w.server.readSecret(t.Context()))
}
