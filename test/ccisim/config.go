package ccisim

import (
	"cmp"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/api"
)

// Config is the configuration of a simulator. The zero value of a field means its default. Only Credentials have none.
type Config struct {
	// Credentials are accepted from clients. At least one is required. All of them see the same tenant.
	Credentials []Credential
	// Clock controls all simulated time, including the allowed skew of signatures. Default the real clock.
	Clock clock.WithTicker
	// Logger is the log of the simulator. Default none.
	Logger *slog.Logger
	// StateFile keeps all objects over a restart, however the process ended. Default none.
	StateFile string

	// Region is the topology region of Pods. Default cn-north-4.
	Region string
	// SubnetCIDR is the network of the Pods' addresses, for all networks together. When no address is free, networks
	// become IPInsufficient. Default 10.246.0.0/16. A smaller network runs out sooner.
	SubnetCIDR string

	// Subnets are the subnets of the account's VPC. Networks in others fail. The simulator then also serves the part of
	// the VPC API that shows them. Default none: networks may be in any subnet.
	Subnets []Subnet

	// NetworkDelay passes before a new network is Ready. Default 200ms.
	NetworkDelay time.Duration
	// ScheduleDelay passes before a new Pod has a node. Default 50ms.
	ScheduleDelay time.Duration
	// StartDelay passes between the scheduling of a Pod and the start of its first container, for the sandbox and the
	// image pull. Default 200ms.
	StartDelay time.Duration
	// InitRunTime is how long an init container runs. Default 50ms.
	InitRunTime time.Duration
	// RunTime is how long a container of a Pod with restartPolicy Never or OnFailure runs, unless an annotation says
	// otherwise. Default 1s.
	RunTime time.Duration
	// StopDelay is how long a container takes to end after SIGTERM, unless an annotation says otherwise. Default 100ms.
	StopDelay time.Duration
	// FinalizerDelay passes between the end of the last container and the removal of a deleted Pod, and before the removal
	// of a deleted network. Default 100ms.
	FinalizerDelay time.Duration
	// RestartBackoff is the first back-off of a container that ends repeatedly. It doubles at each restart up to
	// MaxRestartBackoff. Default 10s and 5m, as in the kubelet.
	RestartBackoff    time.Duration
	MaxRestartBackoff time.Duration

	// HistoryLimit is how many changes per resource a watch can start in the past. A lower limit causes more 410 errors.
	// Default 20000.
	HistoryLimit int
	// BookmarkInterval is the interval of BOOKMARK events in watches that request them. Default 1m.
	BookmarkInterval time.Duration
	// WatchTimeout ends a watch without timeoutSeconds. Default 30m.
	WatchTimeout time.Duration

	// ExecIdle is how long a stream of pods/exec may be without a frame before it is cut. Default 5m, as in the service.
	ExecIdle time.Duration
	// TokenLife is how long an IAM token is valid. Default 24h.
	TokenLife time.Duration
	// Processes runs containers with the image ProcessImage as real processes, with the rights of the simulator, or as
	// the unprivileged user 65534 if it runs as root. Every client that may create Pods can then run commands on this
	// machine. Default off.
	Processes bool
	// Exporters serves the metrics of each Pod at its address. SubnetCIDR must then be in 127.0.0.0/8, whose addresses all
	// belong to this machine. Default off: the addresses of Pods cannot be reached.
	Exporters bool

	// Policies choose between behaviors that are not documented. They can be changed at any time.
	Policies Policies
}

// withDefaults returns the configuration with every unset field filled in. Package faults does it for the policies.
func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Region = cmp.Or(c.Region, "cn-north-4")
	c.SubnetCIDR = cmp.Or(c.SubnetCIDR, "10.246.0.0/16")
	c.NetworkDelay = cmp.Or(c.NetworkDelay, 200*time.Millisecond)
	c.ScheduleDelay = cmp.Or(c.ScheduleDelay, 50*time.Millisecond)
	c.StartDelay = cmp.Or(c.StartDelay, 200*time.Millisecond)
	c.InitRunTime = cmp.Or(c.InitRunTime, 50*time.Millisecond)
	c.RunTime = cmp.Or(c.RunTime, time.Second)
	c.StopDelay = cmp.Or(c.StopDelay, 100*time.Millisecond)
	c.FinalizerDelay = cmp.Or(c.FinalizerDelay, 100*time.Millisecond)
	c.RestartBackoff = cmp.Or(c.RestartBackoff, 10*time.Second)
	c.MaxRestartBackoff = cmp.Or(c.MaxRestartBackoff, 5*time.Minute)
	c.HistoryLimit = cmp.Or(c.HistoryLimit, 20000)
	c.BookmarkInterval = cmp.Or(c.BookmarkInterval, time.Minute)
	c.WatchTimeout = cmp.Or(c.WatchTimeout, 30*time.Minute)
	c.ExecIdle = cmp.Or(c.ExecIdle, 5*time.Minute)
	c.TokenLife = cmp.Or(c.TokenLife, 24*time.Hour)
	return c
}

// Validate returns every error of the configuration. An unset field is valid, except for the credentials.
func (c Config) Validate() error {
	errs := api.ValidateCredentials(c.Credentials, field.NewPath("credentials"))
	errs = append(errs, api.ValidateSubnets(c.Subnets, field.NewPath("subnets"))...)
	if c.SubnetCIDR != "" {
		if _, err := parseSubnet(c.SubnetCIDR); err != nil {
			errs = append(errs, err)
		}
	}
	for name, d := range map[string]time.Duration{
		"networkDelay": c.NetworkDelay, "scheduleDelay": c.ScheduleDelay, "startDelay": c.StartDelay,
		"initRunTime": c.InitRunTime, "runTime": c.RunTime, "stopDelay": c.StopDelay, "finalizerDelay": c.FinalizerDelay,
		"restartBackoff": c.RestartBackoff, "maxRestartBackoff": c.MaxRestartBackoff,
		"bookmarkInterval": c.BookmarkInterval, "watchTimeout": c.WatchTimeout,
		"execIdle": c.ExecIdle, "tokenLife": c.TokenLife,
	} {
		if d < 0 {
			errs = append(errs, field.Invalid(field.NewPath(name), d.String(), "must be zero or more"))
		}
	}
	if c.Exporters && !strings.HasPrefix(c.SubnetCIDR, "127.") {
		errs = append(errs, field.Invalid(field.NewPath("subnetCIDR"), c.SubnetCIDR,
			"must be in 127.0.0.0/8 if exporters are on, because this machine must have the addresses"))
	}
	if c.HistoryLimit < 0 {
		errs = append(errs, field.Invalid(field.NewPath("historyLimit"), c.HistoryLimit, "must be zero or more"))
	}
	return append(errs, c.Policies.Validate(field.NewPath("policies"))...).ToAggregate()
}

func parseSubnet(cidr string) (netip.Prefix, *field.Error) {
	path := field.NewPath("subnetCIDR")
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Prefix{}, field.Invalid(path, cidr, err.Error())
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 29 || prefix.Bits() < 8 {
		return netip.Prefix{}, field.Invalid(path, cidr, "must be an IPv4 network between /8 and /29")
	}
	return prefix.Masked(), nil
}
