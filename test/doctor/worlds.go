package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// The account of all worlds. Its values have the form of real ones, so that what hides them is tried.
var account = ccisim.Credential{
	AccessKey: "HPUAXXEXAMPLE1234567", SecretKey: "q8Zt+simulated/secret=key%20of0the4account",
	ProjectID: "0a1b2c3d4e5f60718293a4b5c6d7e8f9", DomainID: "f9e8d7c6b5a493827160f5e4d3c2b1a0",
}

const (
	vpcSubnetID     = "4779ab1c-7c1a-44b1-a02e-93dfc361b32d"
	neutronSubnetID = "97a14c19-fba4-46e3-9aab-60fae092aff7"
	securityGroupID = "6c2b4f85-1d2e-4f30-8a9b-0c1d2e3f4a5b"
)

// world is a state of the cloud and of the user's configuration.
type world struct {
	name, about string
	// sim and user change the simulated cloud and the configuration of the user, fault the cloud at work. All optional.
	sim   func(*ccisim.Config)
	user  func(*config.Config)
	fault ccisim.Fault
	// secretKey replaces that of the account in the user's file.
	secretKey string
}

// worlds returns all worlds, the good one first.
func worlds() []world {
	return []world{
		{name: "healthy", about: "everything is as it should be"},
		{
			name: "wrong-key", about: "the secret key belongs to another access key",
			secretKey: "another-secret-key-of-the-same-form-0000",
		},
		{
			name: "clock-off", about: "the clock of the machine is 20 minutes late",
			sim: func(c *ccisim.Config) { c.Clock = shifted{ahead: 20 * time.Minute} },
		},
		{
			name: "vpc-subnet", about: "the subnet is given by its ID in the VPC API",
			user: func(c *config.Config) { c.CCI.SubnetIDs = []string{vpcSubnetID} },
		},
		{
			name: "unpublished", about: "the region has no Events, no volumes and no image snapshots",
			sim: func(c *ccisim.Config) {
				c.Policies.Unpublished = []string{"events", "persistentvolumes", "persistentvolumeclaims", "imagesnapshots"}
			},
		},
		{
			name: "no-agency", about: "CCI was never authorized in the console",
			fault: ccisim.Fault{Kind: ccisim.NoAgency},
		},
	}
}

// shifted is a clock that is ahead of the real one.
type shifted struct {
	clock.RealClock
	ahead time.Duration
}

func (s shifted) Now() time.Time                  { return s.RealClock.Now().Add(s.ahead) }
func (s shifted) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// result is what a run has found.
type result struct {
	// text is what the command prints, without what differs from run to run.
	text      string
	report    *doctor.Report
	exchanges []transcript.Exchange
	redactor  *transcript.Redactor
	// names are the tokens and names in the answers of IAM.
	names []string
	// left are the namespaces that are left in the cloud.
	left []string
}

// run runs the doctor in the world.
func (w world) run(ctx context.Context) (result, error) {
	sim, url, stop, err := w.start()
	if err != nil {
		return result{}, err
	}
	defer stop()
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		return result{}, fmt.Errorf("creating a directory for the keys: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg, err := w.configuration(dir, url)
	if err != nil {
		return result{}, err
	}
	var text bytes.Buffer
	d, err := doctor.New(cfg, doctor.Options{
		Create: true, VPCEndpoint: url, ID: "0000", Image: "swr.example.com/tools/busybox:1.37",
		Progress: doctor.Progress(&text), Poll: 5 * time.Millisecond, WatchTime: time.Second, Timeout: 10 * time.Minute,
	})
	if err != nil {
		return result{}, err
	}
	report, err := d.Run(ctx)
	if err != nil {
		return result{}, err
	}
	report.PrintText(&text)
	return result{
		text:   strings.ReplaceAll(text.String(), url, "http://SIMULATOR"),
		report: report, exchanges: d.Exchanges(), redactor: d.Redactor(), names: d.Names(),
		left: sim.Namespaces(),
	}, nil
}

// start runs the simulated cloud until stop is called.
func (w world) start() (sim *ccisim.Sim, url string, stop func(), err error) {
	c := ccisim.Config{
		Credentials: []ccisim.Credential{account},
		Subnets:     []ccisim.Subnet{{VPCID: vpcSubnetID, NeutronID: neutronSubnetID, CIDR: "10.0.1.0/24"}},
		// The Pod does not end before the checks do.
		RunTime: time.Hour, NetworkDelay: 10 * time.Millisecond, ScheduleDelay: 10 * time.Millisecond,
		StartDelay: 10 * time.Millisecond, StopDelay: 10 * time.Millisecond, FinalizerDelay: 10 * time.Millisecond,
		BookmarkInterval: 100 * time.Millisecond,
	}
	if w.sim != nil {
		w.sim(&c)
	}
	if sim, err = ccisim.New(c); err != nil {
		return nil, "", nil, err
	}
	if w.fault.Kind != "" {
		if _, err := sim.AddFault(w.fault); err != nil {
			return nil, "", nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: time.Minute}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = server.Serve(listener) }() // It returns when the server is closed.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = sim.Run(ctx) // It returns nil.
	}()
	return sim, "http://" + listener.Addr().String(), func() {
		cancel()
		<-ended
		_ = errors.Join(server.Close(), sim.Close()) // Nothing is kept.
	}, nil
}

// configuration returns that of the user, with the keys in a directory.
func (w world) configuration(dir, url string) (*config.Config, error) {
	cfg := config.Default()
	cfg.CCI.Region, cfg.CCI.Endpoint, cfg.CCI.IAMEndpoint = "cn-north-4", url, url
	cfg.CCI.ProjectID, cfg.CCI.DomainID = account.ProjectID, account.DomainID
	cfg.CCI.SubnetIDs, cfg.CCI.SecurityGroupIDs = []string{neutronSubnetID}, []string{securityGroupID}
	cfg.CCI.CredentialsFile = filepath.Join(dir, "keys.yaml")
	cfg.CCI.QPS, cfg.CCI.Burst = 1000, 1000
	if w.user != nil {
		w.user(cfg)
	}
	secretKey := account.SecretKey
	if w.secretKey != "" {
		secretKey = w.secretKey
	}
	keys := fmt.Sprintf("accessKey: %s\nsecretKey: %q\n", account.AccessKey, secretKey)
	if err := os.WriteFile(cfg.CCI.CredentialsFile, []byte(keys), 0o600); err != nil {
		return nil, fmt.Errorf("writing the keys: %w", err)
	}
	return cfg, nil
}
