package doctor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// program puts a shell script into a directory that comes first in PATH, where containers that are processes find it.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755), "containers run as another user")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestServicesAreTriedFromAPod(t *testing.T) {
	program(t, "nc", `[ "$*" = "-z -w 5 10.96.0.1 443" ]`)
	program(t, "nslookup", `[ "$*" = "kubernetes.default.svc.cluster.local 10.96.0.10" ]`)
	for name, test := range map[string]struct {
		address, service string
		want             CheckReport
		codes            []diagnosis.Code
	}{
		"none is given": {
			want: CheckReport{"services", Skipped, "no --service-address and no --service-name"},
		},
		"both are reached": {
			"10.96.0.1:443", "kubernetes.default.svc.cluster.local",
			CheckReport{"services", Passed, "a Pod reaches 10.96.0.1:443, kubernetes.default.svc.cluster.local"}, nil,
		},
		"the ClusterIP is not routed": {
			"10.96.0.2:443", "kubernetes.default.svc.cluster.local",
			CheckReport{"services", Outcome(diagnosis.Warning), "a Pod reaches kubernetes.default.svc.cluster.local"},
			[]diagnosis.Code{CodeServiceNotReached},
		},
		"neither is reached": {
			"10.96.0.2:443", "other.default.svc.cluster.local",
			CheckReport{"services", Outcome(diagnosis.Warning), "DR409 a ClusterIP cannot be reached"},
			[]diagnosis.Code{CodeServiceNotReached, CodeServiceNotResolved},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t, cloudtest.EveryAPI, func(c *ccisim.Config) { c.Processes = true })
			o := options()
			o.Image, o.ServiceAddress, o.ServiceName = ccisim.ProcessImage, test.address, test.service
			cfg := settings(t, cloud)
			cfg.Pods.ClusterDNS = []string{"10.96.0.10"}
			d, err := New(cfg, o)
			require.NoError(t, err)
			report, err := d.Run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, outcomeOf(t, report, "services"))
			assert.Equal(t, test.codes, codesOf(report, "services"))
		})
	}
}

func TestASidecarWithNetAdmin(t *testing.T) {
	for name, test := range map[string]struct {
		refuse bool
		fault  *ccisim.Fault
		note   string
		codes  []diagnosis.Code
	}{
		"runs": {note: "it runs, and its capabilities are not known"},
		"runs without it, if the cloud refuses it": {
			refuse: true, note: "it runs without NET_ADMIN", codes: []diagnosis.Code{CodeNoNetAdmin},
		},
		"does not run, if the cloud refuses sidecars": {
			fault: &ccisim.Fault{
				Kind: ccisim.ServerError, Verb: "create", Path: "/pods$", Status: 422, Message: "no restartPolicy here",
			},
			note: "DR613 containers do not get NET_ADMIN", codes: []diagnosis.Code{CodeNoSidecar, CodeNoNetAdmin},
		},
		"does not run, if its Pod does not start": {
			fault: &ccisim.Fault{Kind: ccisim.SoldOut}, note: "DR612 a Pod with a sidecar does not run",
			codes: []diagnosis.Code{CodeNoSidecar},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t, func(c *ccisim.Config) { c.Policies.RefuseNetAdmin = test.refuse })
			o := options()
			o.StepTimeout = 3 * time.Second
			o.Progress = func(r CheckReport) {
				if r.Check == "sidecar" && r.Outcome == "" && test.fault != nil {
					cloud.Fault(t, *test.fault)
				}
			}
			report := examine(t, cloud, o)
			assert.Equal(t, test.codes, codesOf(report, "sidecar"))
			assert.Equal(t, test.note, outcomeOf(t, report, "sidecar").Note)
		})
	}
}

func TestCapabilitiesOfAProcess(t *testing.T) {
	for status, want := range map[string]uint64{
		"Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t00000000a80435fb\nCapBnd:\t0\n": 0xa80435fb,
		"CapEff:\t0000000000001000\n": 1 << netAdmin,
	} {
		got, ok := capabilities(status)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, status := range []string{"", "CapEff:\tmany\n", "CapPrm:\t0000000000001000\n"} {
		_, ok := capabilities(status)
		assert.False(t, ok, status)
	}
}
