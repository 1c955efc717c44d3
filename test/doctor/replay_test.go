package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/test/ccisim/replay"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// A transcript is a fixture: in its replay the doctor finds what it has found in the cloud, although its objects have
// other names.
func TestAReplayShowsTheSameFindings(t *testing.T) {
	for _, w := range worlds() {
		if w.name == "clock-off" {
			continue // A replay has the present time.
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r, err := w.run(t.Context())
			require.NoError(t, err)
			exchanges, err := transcript.Read(strings.NewReader(transcriptOf(t, r)))
			require.NoError(t, err)
			server := httptest.NewServer(replay.Handler(exchanges))
			t.Cleanup(server.Close)

			keys := filepath.Join(t.TempDir(), "keys.yaml")
			require.NoError(t, os.WriteFile(keys, []byte("accessKey: any\nsecretKey: any\n"), 0o600))
			cfg := config.Default()
			cfg.CCI.Region, cfg.CCI.Endpoint, cfg.CCI.IAMEndpoint = "cn-north-4", server.URL, server.URL
			cfg.CCI.ProjectID, cfg.CCI.CredentialsFile = "PROJECT-ID", keys
			cfg.CCI.SubnetIDs, cfg.CCI.SecurityGroupIDs = []string{"SUBNET-ID-1"}, []string{"SECURITY-GROUP-ID-1"}
			cfg.CCI.QPS, cfg.CCI.Burst = 1000, 1000
			d, err := doctor.New(cfg, doctor.Options{
				Create: true, VPCEndpoint: server.URL, Image: "REGISTRY/IMAGE:TAG",
				Poll: 5 * time.Millisecond, WatchTime: time.Second,
			})
			require.NoError(t, err)
			report, err := d.Run(t.Context())
			require.NoError(t, err)
			var text bytes.Buffer
			report.PrintText(&text)
			assert.Equal(t, codes(r.report), codes(report), text.String())
		})
	}
}

// codes returns the codes of the findings of each check.
func codes(report *doctor.Report) map[string][]diagnosis.Code {
	all := map[string][]diagnosis.Code{}
	for i := range report.Findings {
		f := &report.Findings[i]
		all[f.Check] = append(all[f.Check], f.Code)
	}
	return all
}
