package config

import (
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
)

var update = flag.Bool("update", false, "write the goldens anew")

func TestDefaults(t *testing.T) {
	const golden = "testdata/defaults.yaml"
	got, err := yaml.Marshal(Default())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "a default has changed")
}

// required are the flags without a default, as the trial system gives them.
func required() []string {
	return []string{
		"--cluster-id=prod", "--node-name=virtual-node-cci-0", "--node-ip=10.0.0.9", "--client-ca-file=ca", "--tls-cert-file=crt", "--tls-private-key-file=key",
		"--cci-region=cn-north-4", "--cci-project-id=p", "--cci-credentials-file=c", "--cci-namespace=bursting-prod",
		"--cci-subnet-id=a", "--cci-subnet-id=b", "--cci-security-group-id=g",
	}
}

func TestFlags(t *testing.T) {
	cfg := Default()
	require.NoError(t, loader.Load("vnode", append(required(), "--node-cpu=64", "--node-memory=256Gi", "--cluster-dns=10.1.2.3", "--cci-qps=5"), cfg))
	assert.Equal(t, []string{"a", "b"}, cfg.CCI.SubnetIDs)
	assert.Equal(t, "64", cfg.Node.CPU.String())
	assert.Equal(t, "256Gi", cfg.Node.Memory.String())
	assert.Equal(t, []string{"10.1.2.3"}, cfg.Pods.ClusterDNS)
	assert.Equal(t, "https://cci.cn-north-4.myhuaweicloud.com", cfg.CCI.endpoint())
	assert.Equal(t, "https://iam.cn-north-4.myhuaweicloud.com", cfg.CCI.iamEndpoint())
	port, err := cfg.KubeletPort()
	require.NoError(t, err)
	assert.Equal(t, int32(10250), port)
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	err := loader.Load("vnode", []string{
		"--cluster-id=longer-than-sixteen-characters", "--node-name=UPPER", "--node-ip=here", "--listen=10250", "--health-listen=8082",
		"--node-cpu=0", "--node-pods=-1", "--cci-namespace=UPPER", "--cci-qps=0", "--log-level=loud", "--default-pod-size=3_3", "--cluster-dns=dns", "--time-zone=Nowhere", "--tls-cert-file=crt",
	}, Default())
	require.ErrorIs(t, err, run.ErrUsage)
	for _, word := range []string{
		"cluster-id", "longer-than-sixteen-characters", "node-name", "UPPER", "node-ip", "here", "listen", "health-listen", "node-cpu", "node-pods",
		"cci-namespace", "cci-qps", "loud", "3_3", "dns", "Nowhere", "tls-cert-file", "tls-private-key-file", "client-ca-file", "cci-region", "cci-project-id",
		"cci-credentials-file", "cci-subnet-id", "cci-security-group-id",
	} {
		assert.ErrorContains(t, err, word)
	}
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--certificate-dir=d"), Default()), "certificate-dir", "two certificates are one too many")
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--tls-private-key-file="), Default()), "tls-private-key-file")
	require.NoError(t, loader.Load("vnode", append(required(), "--certificate-dir=d", "--tls-cert-file=", "--tls-private-key-file="), Default()))
	require.NoError(t, loader.Load("vnode", append(required(), "--tls-cert-file=", "--tls-private-key-file="), Default()), "self-signed")
	assert.ErrorContains(t, loader.Load("vnode", []string{"--node-cpu=many"}, Default()), "must be a quantity")
}

func TestFaultsOfTheFirstGeneration(t *testing.T) {
	err := loader.Load("vnode", append(required(), "--cci-version=1.0", "--cci-security-group-id=h"), Default())
	for _, words := range []string{"cci-subnet-id", "[a b]", "[g h]", "cci.network1.vpcID", "cci.network1.networkID"} {
		assert.ErrorContains(t, err, words)
	}
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--cci-version=3.0"), Default()), `policy.cciVersion: Unsupported value: "3.0"`)

	c := Default()
	c.CCI.Network1.CIDR = "10.0.0.0"
	assert.ErrorContains(t, loader.Load("vnode", required(), c), "cci.network1: must be empty")
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--cci-version=1.0"), c), `cci.network1.cidr: invalid value "10.0.0.0"`)
	c = Default()
	c.CCI.Network1 = Network1Config{VPCID: "v", NetworkID: "n"}
	one := slices.DeleteFunc(required(), func(flag string) bool { return flag == "--cci-subnet-id=b" })
	require.NoError(t, loader.Load("vnode", append(one, "--cci-version=1.0"), c))
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--cci-credentials-from=machine"), Default()), "cci-credentials-file")
	assert.ErrorContains(t, loader.Load("vnode", append(required(), "--cci-credentials-from=cloud"), Default()), `cci-credentials-from: invalid value "cloud"`)
}

func TestClaimsThatAreNotCarriedAreNotSentEither(t *testing.T) {
	c := Default()
	c.Pods.Claims = false
	assert.ErrorContains(t, loader.Load("vnode", required(), c), "pods.claims, policy.volumeKinds: invalid values false and [nas.csi.everest.io sfsturbo.csi.everest.io]")
	c.Policy.VolumeKinds = nil
	require.NoError(t, loader.Load("vnode", required(), c))
}

func TestFaultsOfSoldOut(t *testing.T) {
	cfg := Default()
	cfg.SoldOut.Signs, cfg.SoldOut.StuckPods = "(", "move"
	cfg.SoldOut.Patience.Duration, cfg.SoldOut.Lock.Duration = 0, time.Millisecond
	err := cfg.SoldOut.validate()
	for _, words := range []string{
		`soldOut.signs: invalid value "(": must be a regular expression`, `soldOut.stuckPods: invalid value "move": must be reschedule or wait`,
		"soldOut.patience: invalid value 0s", "soldOut.lock: invalid value 1ms",
	} {
		assert.ErrorContains(t, err, words)
	}
}

func TestFaultsOfTheFileAloneAreNamed(t *testing.T) {
	cfg := Default()
	cfg.CCI.Exec.Handshake, cfg.CCI.Exec.KeepAlive.Duration = "secret", 0
	cfg.Usage.Concurrency, cfg.Usage.Timeout.Duration = 0, 0
	err := cfg.Validate()
	for _, word := range []string{`cci.exec.handshake: invalid value "secret"`, "cci.exec.keepAlive", "usage.concurrency", "usage.timeout"} {
		assert.ErrorContains(t, err, word)
	}
}
