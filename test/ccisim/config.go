package ccisim

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// FieldPolicy says what happens to a field of a request body that CCI's published schema does not list. What the real service does is
// not documented, so a client must behave under both.
type FieldPolicy string

const (
	// DropFields removes the field, goes on, and remembers it for DroppedFields.
	DropFields FieldPolicy = "drop"
	// RefuseFields answers 400 and names every such field.
	RefuseFields FieldPolicy = "refuse"
)

// EventAccess says how much of the events resource is served; the definitions have list and read, the live discovery has neither.
type EventAccess string

const (
	// EventsListed serves get and list: what the vendor's definitions promise.
	EventsListed EventAccess = "list"
	// EventsWatched serves watch too.
	EventsWatched EventAccess = "watch"
	// EventsAbsent answers 404, as a region does whose discovery lacks events.
	EventsAbsent EventAccess = "none"
)

// Policies are the questions about CCI that nobody documents. Every one is a switch, so that a client can be shown to stand both answers.
type Policies struct {
	// Fields is the treatment of unlisted fields. Default drop.
	Fields FieldPolicy `json:"fields"`
	// Events is the reach of the events resource. Default list.
	Events EventAccess `json:"events"`
	// EqualRequests refuses containers whose requests differ from their limits. Default off.
	EqualRequests bool `json:"equalRequests"`
	// IgnoreLimit answers every list whole, as if limit and continue had not been sent. Default off.
	IgnoreLimit bool `json:"ignoreLimit"`
	// IgnorePreconditions deletes without looking at preconditions. Default off.
	IgnorePreconditions bool `json:"ignorePreconditions"`
	// GoneAsStatus answers a watch that starts too far back with HTTP 410 in place of an ERROR event in a 200 stream. Default off.
	GoneAsStatus bool `json:"goneAsStatus"`
	// NoVolumes answers 404 to persistentvolumes and their claims, as regions do that do not have them yet. Default off.
	NoVolumes bool `json:"noVolumes"`
	// RequireNetworkAnnotations refuses networks without the yangtse.io/project-id and domain-id annotations. Default off.
	RequireNetworkAnnotations bool `json:"requireNetworkAnnotations"`
	// SilentConditions leaves it to events to say why a Pod has no node. Default off.
	SilentConditions bool `json:"silentConditions"`
	// SignedExec takes a signature in place of X-Auth-Token for pods/exec. Default off.
	SignedExec bool `json:"signedExec"`
}

// Config is everything that a simulator is made of. The zero value of a field means its default; only Credentials have none.
type Config struct {
	// Credentials are the accounts that may call. At least one. All of them see the same tenant.
	Credentials []Credential
	// Clock drives all simulated time, signature skew included. Default the real clock.
	Clock clock.WithTicker
	// Logger receives what a person who runs the simulator wants to see. Default discards.
	Logger *slog.Logger
	// StateFile keeps all objects over a restart, however the process ended. Empty keeps nothing.
	StateFile string

	// Region is written into Pods as their topology. Default cn-north-4.
	Region string
	// SubnetCIDR is where Pod addresses come from, for all networks together. When it is used up, networks turn IPInsufficient.
	// Default 10.246.0.0/16; a smaller one runs out sooner.
	SubnetCIDR string

	// NetworkDelay passes before a new network is Ready. Default 200ms.
	NetworkDelay time.Duration
	// ScheduleDelay passes before a new Pod has a node. Default 50ms.
	ScheduleDelay time.Duration
	// StartDelay passes between having a node and the first container's start: sandbox and image pull. Default 200ms.
	StartDelay time.Duration
	// InitRunTime is how long an init container runs. Default 50ms.
	InitRunTime time.Duration
	// RunTime is how long a container of a Pod with restartPolicy Never or OnFailure runs, unless an annotation says otherwise. Default 1s.
	RunTime time.Duration
	// StopDelay is how long a container takes to end after SIGTERM, unless an annotation says otherwise. Default 100ms.
	StopDelay time.Duration
	// FinalizerDelay passes between the last container's end and the disappearance of a deleted Pod or network. Default 100ms.
	FinalizerDelay time.Duration
	// RestartBackoff is the first back-off of a container that keeps ending; it doubles at each restart up to MaxRestartBackoff.
	// Default 10s and 5m, as the kubelet's.
	RestartBackoff    time.Duration
	MaxRestartBackoff time.Duration

	// HistoryLimit is how many changes per resource a watch can look back. Fewer means more 410s. Default 20000.
	HistoryLimit int
	// BookmarkInterval is the pace of BOOKMARK events for watches that asked for them. Default 1m.
	BookmarkInterval time.Duration
	// WatchTimeout ends a watch that named no timeoutSeconds. Default 30m.
	WatchTimeout time.Duration

	// ExecIdle is after how long a stream of pods/exec is cut on which no frame comes or goes. Default 5m, as the service's.
	ExecIdle time.Duration
	// TokenLife is how long an IAM token holds. Default 24h.
	TokenLife time.Duration
	// Processes makes real processes of containers whose image is ProcessImage, with the rights of the simulator, or as nobody where it
	// runs as root: whoever may create Pods then runs commands on this machine. Default off.
	Processes bool
	// Exporters has each Pod tell what it uses, at its own address: SubnetCIDR must be in 127.0.0.0/8 then, which is all this machine's.
	// Default off: nobody reaches the addresses of Pods.
	Exporters bool

	// Policies are the undocumented answers; they can be changed while running.
	Policies Policies
}

// withDefaults returns the configuration with every unset field filled in.
func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.Region, "cn-north-4")
	setDefault(&c.SubnetCIDR, "10.246.0.0/16")
	setDefault(&c.NetworkDelay, 200*time.Millisecond)
	setDefault(&c.ScheduleDelay, 50*time.Millisecond)
	setDefault(&c.StartDelay, 200*time.Millisecond)
	setDefault(&c.InitRunTime, 50*time.Millisecond)
	setDefault(&c.RunTime, time.Second)
	setDefault(&c.StopDelay, 100*time.Millisecond)
	setDefault(&c.FinalizerDelay, 100*time.Millisecond)
	setDefault(&c.RestartBackoff, 10*time.Second)
	setDefault(&c.MaxRestartBackoff, 5*time.Minute)
	setDefault(&c.HistoryLimit, 20000)
	setDefault(&c.BookmarkInterval, time.Minute)
	setDefault(&c.WatchTimeout, 30*time.Minute)
	setDefault(&c.ExecIdle, 5*time.Minute)
	setDefault(&c.TokenLife, 24*time.Hour)
	setDefault(&c.Policies.Fields, DropFields)
	setDefault(&c.Policies.Events, EventsListed)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every fault of the configuration at once. Unset fields are no fault.
func (c Config) Validate() error {
	errs := []error{validateCredentials(c.Credentials)}
	if c.SubnetCIDR != "" {
		if _, err := parseSubnet(c.SubnetCIDR); err != nil {
			errs = append(errs, err)
		}
	}
	for name, d := range map[string]time.Duration{
		"networkDelay": c.NetworkDelay, "scheduleDelay": c.ScheduleDelay, "startDelay": c.StartDelay, "initRunTime": c.InitRunTime,
		"runTime": c.RunTime, "stopDelay": c.StopDelay, "finalizerDelay": c.FinalizerDelay, "restartBackoff": c.RestartBackoff,
		"maxRestartBackoff": c.MaxRestartBackoff, "bookmarkInterval": c.BookmarkInterval, "watchTimeout": c.WatchTimeout,
		"execIdle": c.ExecIdle, "tokenLife": c.TokenLife,
	} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("%s: %s is negative; a duration of zero or more is right", name, d))
		}
	}
	if c.Exporters && !strings.HasPrefix(c.SubnetCIDR, "127.") {
		errs = append(errs, fmt.Errorf("exporters: subnetCIDR is %q, whose addresses are none of this machine's; one in 127.0.0.0/8 is right", c.SubnetCIDR))
	}
	if c.HistoryLimit < 0 {
		errs = append(errs, fmt.Errorf("historyLimit: %d is negative; a number of changes is right", c.HistoryLimit))
	}
	return errors.Join(append(errs, c.Policies.validate())...)
}

func (p Policies) validate() error {
	var errs []error
	switch p.Fields {
	case "", DropFields, RefuseFields:
	default:
		errs = append(errs, fmt.Errorf("policies.fields: %q is not known; %q or %q is right", p.Fields, DropFields, RefuseFields))
	}
	switch p.Events {
	case "", EventsListed, EventsWatched, EventsAbsent:
	default:
		errs = append(errs, fmt.Errorf("policies.events: %q is not known; %q, %q or %q is right", p.Events, EventsListed, EventsWatched, EventsAbsent))
	}
	return errors.Join(errs...)
}

func parseSubnet(cidr string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("subnetCIDR: parsing %q: %w", cidr, err)
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 29 || prefix.Bits() < 8 {
		return netip.Prefix{}, fmt.Errorf("subnetCIDR: %q is not usable; an IPv4 network between /8 and /29 is right", cidr)
	}
	return prefix.Masked(), nil
}
