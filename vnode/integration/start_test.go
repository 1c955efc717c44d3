package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/host"
)

func TestItDoesNotStartWithoutRequiredFiles(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		want   string
	}{
		"the authority of clients": {func(c *Config) { c.ClientCAFile = "nowhere.crt" }, "nowhere.crt"},
		"the cloud's credentials":  {func(c *Config) { c.CCI.CredentialsFile = "nowhere.yaml" }, "nowhere.yaml"},
		"the cluster": {func(c *Config) { c.Kube.Kubeconfig = "nowhere.kubeconfig" },
			"nowhere.kubeconfig"},
	}
	cloud := cloudtest.New(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t, cloud, "virtual-node")
			tc.change(cfg)
			_, err := host.New(cfg, hostname, newDiscard())
			assert.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("the certificate", func(t *testing.T) {
		cfg := settings(t, cloud, nodeName(t))
		cfg.TLSCertFile = "nowhere.crt"
		v, err := host.New(cfg, hostname, newDiscard())
		require.NoError(t, err)
		assert.ErrorContains(t, v.Run(t.Context()), "nowhere.crt")
	})
}
