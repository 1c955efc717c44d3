package play

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/proxy"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// Faults disturbs a trial system.
type Faults struct {
	system *system.System
	log    *record.Log
	// asExtender and asScheduler stand between those two and the API server, extender between the scheduler and the extender.
	asExtender, asScheduler *proxy.APIServer
	extender                *proxy.Extender
}

// play disturbs by a list, one after another, each for its time. Begin and end are noted; whatever happens, all is healed.
func (f *Faults) play(ctx context.Context, list []plan.Disturbance) error {
	counts := map[plan.Fault]int{}
	for _, d := range list {
		if err := pause(ctx, d.After); err != nil {
			return err
		}
		counts[d.Fault]++
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault]}})
		if err := f.disturb(ctx, d); err != nil {
			return fmt.Errorf("disturbing (%s): %w", d.Fault, err)
		}
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault], Ended: true}})
	}
	return nil
}

// disturb begins, waits and heals. It returns when all is well again.
func (f *Faults) disturb(ctx context.Context, d plan.Disturbance) error {
	if process, kills, ok := process(d.Fault); ok {
		return f.end(ctx, process, kills, d)
	}
	heal := f.begin(d.Fault)
	defer heal()
	return pause(ctx, d.For)
}

// process is the one that a fault is about, and whether it is killed.
func process(fault plan.Fault) (name string, kills, ok bool) {
	who, what, _ := strings.Cut(string(fault), ": ")
	name, ok = map[string]string{
		"extender": system.Extender, "scheduler": system.Scheduler, "admission": system.Admission, "API server": system.APIServer,
	}[who]
	return name, what == "kill -9", ok && slices.Contains([]string{"kill -9", "graceful restart"}, what)
}

// end ends a process, and starts it again after a while where it was killed. Where it is asked to end, it starts again at once.
func (f *Faults) end(ctx context.Context, process string, kills bool, d plan.Disturbance) error {
	if kills {
		if err := f.system.Kill(process); err != nil {
			return err
		}
		if err := pause(ctx, d.For); err != nil {
			return err
		}
	}
	return f.system.Restart(ctx, process)
}

// begin begins what is not about a process.
func (f *Faults) begin(fault plan.Fault) (heal func()) {
	binds := func(how proxy.BindFault) func() {
		f.asScheduler.DisturbBinds(how)
		return func() { f.asScheduler.DisturbBinds("") }
	}
	answers := func(how proxy.AnswerFault) func() {
		f.extender.Disturb(how)
		return func() { f.extender.Disturb("") }
	}
	nothing := func() {}
	switch fault {
	case plan.StallExtender:
		return f.asExtender.StallWatches()
	case plan.StallScheduler:
		return f.asScheduler.StallWatches()
	case plan.CutExtender:
		f.asExtender.CutWatches()
		return nothing
	case plan.CutScheduler:
		f.asScheduler.CutWatches()
		return nothing
	case plan.ExpireExtender:
		return f.asExtender.ExpireWatches()
	case plan.BindFails:
		return binds(proxy.BindFails)
	case plan.BindUnanswered:
		return binds(proxy.BindLandsUnanswered)
	case plan.BindLate:
		return binds(proxy.BindLandsLate)
	case plan.AnswersSlow:
		return answers(proxy.AnswersSlow)
	case plan.AnswersLost:
		return answers(proxy.AnswersLost)
	default:
		return answers(proxy.AnswersFail)
	}
}
