package ccisim

import (
	"cmp"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
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
	// SubnetCIDR has the addresses of all Pods, except for those in a subnet with a range of its own. When no address is
	// free, networks become IPInsufficient. Default 10.246.0.0/16. A smaller network runs out sooner.
	SubnetCIDR string

	// Subnets are the subnets of the account's VPC. Networks in others fail. The simulator then also serves the part of
	// the VPC API that shows them. Pods in a subnet with a CIDR have addresses of it. Default none: networks may be in
	// any subnet.
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
	// SnapshotDelay passes before an image snapshot is Available, if its Pod runs by then. Default 1s.
	SnapshotDelay time.Duration
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
	// Networks gives each Pod whose containers are processes a network namespace with its address, and each of these
	// containers a file system of its own with its volumes. It needs Processes, root, iproute2, and that the main function
	// calls Init first. This machine has routes to the subnets. Default off.
	Networks bool
	// Routes are the networks that the VPC routes to this machine, as CIDRs: those that Pods can reach in addition to
	// other Pods. It needs Networks. Default none.
	Routes []string
	// Images are programs of this machine, by the names of images: containers of these images run them as processes. A
	// name without a tag is that of all tags. The program is also in / and in /usr/local/bin of the container. It needs
	// Networks.
	Images map[string]string
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
	c.SnapshotDelay = cmp.Or(c.SnapshotDelay, time.Second)
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
	_, _, invalid := c.withDefaults().ranges()
	errs = append(errs, invalid...)
	for name, d := range map[string]time.Duration{
		"networkDelay": c.NetworkDelay, "scheduleDelay": c.ScheduleDelay, "startDelay": c.StartDelay,
		"initRunTime": c.InitRunTime, "runTime": c.RunTime, "stopDelay": c.StopDelay, "finalizerDelay": c.FinalizerDelay,
		"snapshotDelay": c.SnapshotDelay, "restartBackoff": c.RestartBackoff, "maxRestartBackoff": c.MaxRestartBackoff,
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
	errs = append(errs, c.validateNetworks()...)
	if c.HistoryLimit < 0 {
		errs = append(errs, field.Invalid(field.NewPath("historyLimit"), c.HistoryLimit, "must be zero or more"))
	}
	return append(errs, c.Policies.Validate(field.NewPath("policies"))...).ToAggregate()
}

func (c Config) validateNetworks() field.ErrorList {
	var errs field.ErrorList
	networks := field.NewPath("networks")
	if c.Networks && !c.Processes {
		errs = append(errs, field.Invalid(networks, c.Networks, "must be off if processes is off: only processes have one"))
	}
	if c.Networks && c.Exporters {
		errs = append(errs, field.Invalid(networks, c.Networks,
			"must be off if exporters is on: they need loopback addresses"))
	}
	if len(c.Routes) > 0 && !c.Networks {
		errs = append(errs, field.Invalid(field.NewPath("routes"), c.Routes, "must be empty if networks is off"))
	}
	if _, err := parseRoutes(c.Routes); err != nil {
		errs = append(errs, err)
	}
	if len(c.Images) > 0 && !c.Networks {
		errs = append(errs, field.Invalid(field.NewPath("images"), c.Images, "must be empty if networks is off"))
	}
	for name, program := range c.Images {
		if info, err := os.Stat(program); err != nil || !info.Mode().IsRegular() {
			errs = append(errs, field.Invalid(field.NewPath("images").Key(name), program, "must be the path of a program"))
		}
	}
	return errs
}

// parseRoutes parses networks that the VPC routes to this machine.
func parseRoutes(cidrs []string) ([]netip.Prefix, *field.Error) {
	var routes []netip.Prefix
	for i, cidr := range cidrs {
		route, err := netip.ParsePrefix(cidr)
		if err != nil || !route.Addr().Is4() || route.Bits() == 0 {
			return nil, field.Invalid(field.NewPath("routes").Index(i), cidr,
				"must be an IPv4 network, such as 10.96.0.0/12, and not all addresses")
		}
		routes = append(routes, route.Masked())
	}
	return routes, nil
}

// ranges returns the addresses of Pods whose subnet has none of its own, and the subnets.
func (c Config) ranges() (others netip.Prefix, subnets []podlife.Subnet, errs field.ErrorList) {
	others, err := parseRange(c.SubnetCIDR, field.NewPath("subnetCIDR"))
	if err != nil {
		errs = append(errs, err)
	}
	for i, subnet := range c.Subnets {
		next := podlife.Subnet{NeutronID: subnet.NeutronID}
		if subnet.CIDR != "" {
			path := field.NewPath("subnets").Index(i).Child("cidr")
			if next.Range, err = parseRange(subnet.CIDR, path); err != nil {
				errs = append(errs, err)
			}
			isSame := func(other podlife.Subnet) bool { return other.Range.Overlaps(next.Range) }
			if others.Overlaps(next.Range) || slices.ContainsFunc(subnets, isSame) {
				errs = append(errs, field.Invalid(path, subnet.CIDR, "must not overlap subnetCIDR or another subnet"))
			}
		}
		subnets = append(subnets, next)
	}
	return others, subnets, errs
}

func parseRange(cidr string, path *field.Path) (netip.Prefix, *field.Error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Prefix{}, field.Invalid(path, cidr, err.Error())
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 29 || prefix.Bits() < 8 {
		return netip.Prefix{}, field.Invalid(path, cidr, "must be an IPv4 network between /8 and /29")
	}
	return prefix.Masked(), nil
}
