package plan

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// Fault is a kind of fault. The strings are in records and in docs/prove.md, so they must not change.
type Fault string

const (
	KillExtender     Fault = "extender: kill -9"
	RestartExtender  Fault = "extender: graceful restart"
	KillScheduler    Fault = "scheduler: kill -9"
	RestartScheduler Fault = "scheduler: graceful restart"
	KillAdmission    Fault = "admission: kill -9"
	RestartAdmission Fault = "admission: graceful restart"
	KillAPIServer    Fault = "API server: kill -9"
	RestartAPIServer Fault = "API server: graceful restart"

	// JumpExtender moves the extender's wall clock an hour ahead, and later back.
	JumpExtender Fault = "extender: its clock jumps"

	// SuspendExtender suspends the leader and later continues it. It needs several extenders.
	SuspendExtender Fault = record.LeaderSuspended

	StallExtender  Fault = "extender's watches stall"
	LateExtender   Fault = "extender's watches are late"
	CutExtender    Fault = "extender's watches are cut"
	ExpireExtender Fault = "extender's watches end in 410 Gone"
	StallScheduler Fault = "scheduler's watches stall"
	CutScheduler   Fault = "scheduler's watches are cut"
	BindFails      Fault = "binds fail"
	BindUnanswered Fault = "binds time out and have landed"
	BindHangs      Fault = "binds hang"
	BindLate       Fault = "binds time out and land later"
	AnswersSlow    Fault = record.SlowAnswers
	AnswersLost    Fault = "extender's answers are lost"
	AnswersFail    Fault = "extender answers 500"
)

// The faults are in three series, each in its own order: those of Spillway's programs and the scheduler, those of the
// API server, which take long, and those that end no process.
func programFaults(service bool) []Fault {
	faults := []Fault{KillExtender, RestartExtender, KillScheduler, RestartScheduler, KillAdmission, RestartAdmission,
		JumpExtender}
	if service {
		faults = append(faults, SuspendExtender)
	}
	return faults
}

func apiServerFaults() []Fault { return []Fault{KillAPIServer, RestartAPIServer} }

func networkFaults() []Fault {
	return []Fault{
		StallExtender, LateExtender, CutExtender, ExpireExtender, StallScheduler, CutScheduler,
		BindFails, BindUnanswered, BindHangs, BindLate, AnswersSlow, AnswersLost, AnswersFail,
	}
}

// Faults returns all faults. With service it includes those of several extenders.
func Faults(service bool) []Fault {
	return slices.Concat(programFaults(service), apiServerFaults(), networkFaults())
}

// Disturbance is a fault at a point in time.
type Disturbance struct {
	// After is the time since the end of the previous disturbance.
	After time.Duration
	Fault Fault
	// For is how long the fault lasts. A killed process is down for that long.
	For time.Duration
}

// drawFaults returns each fault the given number of times, in random order.
func drawFaults(random *rand.Rand, kinds []Fault, times int) []Disturbance {
	var dealt []Disturbance
	for range times {
		for _, fault := range kinds {
			after := 200*time.Millisecond + upTo(random, time.Second)
			dealt = append(dealt, Disturbance{After: after, Fault: fault, For: lasts(random, fault)})
		}
	}
	random.Shuffle(len(dealt), func(i, j int) { dealt[i], dealt[j] = dealt[j], dealt[i] })
	return dealt
}

func lasts(random *rand.Rand, fault Fault) time.Duration {
	switch fault {
	case StallExtender, StallScheduler:
		return time.Second + upTo(random, 4*time.Second)
	case SuspendExtender: // Longer than a Lease, or almost as long.
		return 5*time.Second + upTo(random, 5*time.Second)
	}
	return 100*time.Millisecond + upTo(random, 2*time.Second)
}
