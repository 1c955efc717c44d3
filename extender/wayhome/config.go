package wayhome

import (
	"fmt"
	"time"
	_ "time/tzdata" // For timeZone, in images that have no time zones.

	"github.com/robfig/cron/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxMoves is the largest number of moves at once. Each costs some requests a second.
const maxMoves = 20

// Config configures the way home. The zero value is invalid: start from DefaultConfig.
type Config struct {
	// Enabled lets Pods that ask for it return. If it is false, the extender needs no rights for that: to read
	// workloads, to evict Pods and to write Events. Default: true.
	Enabled bool `json:"enabled"`
	// Default says whether cloud Pods return if neither the Pod nor its workload nor its namespace has the annotation
	// spillway.io/way-home. Default: false.
	Default bool `json:"default"`
	// MaxMoves is how many Pods of the cluster move at once, from 1 to 20. Of each workload only one does. More empties
	// the cloud faster and causes more restarts at once. Default: 1.
	MaxMoves int `json:"maxMoves"`
	// MinAge is how long a Pod must exist before it may return. Longer keeps Pods from going back and forth. Default:
	// 10m.
	MinAge metav1.Duration `json:"minAge"`
	// StableFor is how long there must have been room for the Pod on a local node before it returns. Longer ignores
	// room that is taken again soon. Default: 2m.
	StableFor metav1.Duration `json:"stableFor"`
	// Pause is the time between two moves of one workload. A new leader waits ten times as long before its first move.
	// Default: 1m.
	Pause metav1.Duration `json:"pause"`
	// MaxPause is the longest pause of a workload. After a move that fails, or whose workload bursts again within ten
	// minutes, the pause is 10m, and it doubles with each. A MaxPause below 10m bounds all three. It must be at least
	// pause. Default: 6h.
	MaxPause metav1.Duration `json:"maxPause"`
	// Schedule says when moves may begin, in the syntax of a CronJob, such as "0 2 * * *". Default: empty, always.
	Schedule string `json:"schedule"`
	// Window is for how long after each time of Schedule moves may begin. Default: 3h.
	Window metav1.Duration `json:"window"`
	// TimeZone is that of Schedule, such as "Asia/Shanghai". Default: UTC.
	TimeZone string `json:"timeZone"`
}

// firstBackoff is the pause after the first move that fails, and how soon a workload must not burst after a move.
const firstBackoff = 10 * time.Minute

// firstBackoff returns firstBackoff within MaxPause.
func (c Config) firstBackoff() time.Duration { return min(firstBackoff, c.MaxPause.Duration) }

// DefaultConfig returns the default configuration.
func DefaultConfig() Config {
	minutes := func(n time.Duration) metav1.Duration { return metav1.Duration{Duration: n * time.Minute} }
	return Config{
		Enabled: true, MaxMoves: 1, MinAge: minutes(10), StableFor: minutes(2), Pause: minutes(1),
		MaxPause: minutes(360), Window: minutes(180), TimeZone: "UTC",
	}
}

// Validate returns every error at once. path is the field that holds this part of the configuration.
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.MaxMoves < 1 || c.MaxMoves > maxMoves {
		errs = append(errs, field.Invalid(path.Child("maxMoves"), c.MaxMoves,
			fmt.Sprintf("must be from 1 to %d", maxMoves)))
	}
	for _, d := range []struct {
		field string
		value metav1.Duration
	}{{"minAge", c.MinAge}, {"stableFor", c.StableFor}, {"pause", c.Pause}} {
		if d.value.Duration < 0 {
			errs = append(errs, field.Invalid(path.Child(d.field), d.value.Duration.String(), "must not be negative"))
		}
	}
	if c.MaxPause.Duration < c.Pause.Duration {
		errs = append(errs, field.Invalid(path.Child("maxPause"), c.MaxPause.Duration.String(),
			"must be at least pause"))
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil {
		errs = append(errs, field.Invalid(path.Child("timeZone"), c.TimeZone, "must be the name of a time zone"))
	}
	if c.Schedule == "" {
		return errs
	}
	if _, err := cron.ParseStandard(c.Schedule); err != nil {
		errs = append(errs, field.Invalid(path.Child("schedule"), c.Schedule, err.Error()))
	}
	if c.Window.Duration <= 0 {
		errs = append(errs, field.Invalid(path.Child("window"), c.Window.Duration.String(),
			"must be greater than zero with a schedule"))
	}
	return errs
}

// hours says when moves may begin.
type hours struct {
	schedule cron.Schedule // nil: always
	window   time.Duration
	zone     *time.Location
}

func newHours(c Config) (hours, error) {
	zone, err := time.LoadLocation(c.TimeZone)
	if err != nil {
		return hours{}, fmt.Errorf("reading the time zone of the way home: %w", err)
	}
	h := hours{window: c.Window.Duration, zone: zone}
	if c.Schedule == "" {
		return h, nil
	}
	if h.schedule, err = cron.ParseStandard(c.Schedule); err != nil {
		return hours{}, fmt.Errorf("reading the schedule of the way home: %w", err)
	}
	return h, nil
}

// open reports whether a move may begin at a moment.
func (h hours) open(now time.Time) bool {
	if h.schedule == nil {
		return true
	}
	began := h.schedule.Next(now.In(h.zone).Add(-h.window)) // The first one whose window is not over.
	return !began.IsZero() && !began.After(now)
}
